"""Who is asking: access tokens verified by every service itself, with the platform's published keys.

Tokens are JWTs of RFC 9068: ES256 only, `typ: at+jwt`, issuer and audience `tradewind`. Nothing in a token chooses how
it is verified: the algorithm is pinned, the key comes from our own key set by `kid`.
"""

from __future__ import annotations

import jwt
import msgspec

from tradewind.chassis.clock import Clock, SystemClock
from tradewind.chassis.errors import Unauthenticated, Unavailable
from tradewind.chassis.ids import is_id
from tradewind.chassis.jwks import KeySet, KeySetUnavailable, KeySource, KeyUrl

ISSUER = "tradewind"
AUDIENCE = "tradewind"
TOKEN_TYPE = "at+jwt"  # noqa: S105 - RFC 9068's name of the type
ALGORITHM = "ES256"
LEEWAY_S = 5.0
MAX_TOKEN_CHARS = 4_096
MAX_CACHED_TOKENS = 10_000

_CHALLENGE = {"www-authenticate": 'Bearer error="invalid_token"'}


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A verified caller. `subject` is the user's id; `token` is for calls made on the caller's behalf, never stored."""

    subject: str
    email: str
    name: str
    roles: frozenset[str]
    session_id: str
    token: str

    def has(self, *roles: str) -> bool:
        """Whether the caller has one of `roles`; admin has all."""
        return "admin" in self.roles or not self.roles.isdisjoint(roles)

    def __repr__(self) -> str:
        return f"Caller(subject={self.subject!r}, roles={sorted(self.roles)})"


class _Header(msgspec.Struct, frozen=True):
    alg: str
    typ: str
    kid: str


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    aud: str | list[str]
    sub: str
    exp: float
    iat: float
    jti: str
    nbf: float = 0.0
    sid: str = ""
    email: str = ""
    name: str = ""
    roles: tuple[str, ...] = ()


class TokenVerifier:
    """Turns an access token into its `Caller`; remembers up to 10,000 verified tokens until they expire."""

    def __init__(
        self,
        keys: str | KeySource,
        *,
        issuer: str = ISSUER,
        audience: str = AUDIENCE,
        clock: Clock | None = None,
        max_cached: int = MAX_CACHED_TOKENS,
    ) -> None:
        """`keys` is the URL of the key set, or another source of it (auth-service has its own)."""
        self._clock = clock or SystemClock()
        source = KeyUrl(keys) if isinstance(keys, str) else keys
        self._keys = KeySet(source, on_change=self._forget, monotonic_s=self._clock.monotonic_s)
        self._issuer = issuer
        self._audience = audience
        self._verified: dict[str, tuple[Caller, float]] = {}
        self._max_cached = max_cached

    async def verify(self, token: str) -> Caller:
        """The caller of a valid `token`.

        Raises:
            Unauthenticated: `token-expired`, or `token-invalid` for everything else that is wrong with it.
            Unavailable: `keys-unavailable`, the keys could not be fetched and we hold none that could decide.
        """
        now_s = self._clock.now().timestamp()
        known = self._verified.pop(token, None)
        if known is not None:
            if now_s < known[1]:
                self._verified[token] = known  # back in at the end: the dict is in order of use
                return known[0]
            raise _expired()
        claims = await self._check(token)
        self._check_times(claims, now_s)
        caller = Caller(
            subject=claims.sub,
            email=claims.email,
            name=claims.name,
            roles=frozenset(claims.roles),
            session_id=claims.sid,
            token=token,
        )
        if len(self._verified) >= self._max_cached:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = (caller, claims.exp + LEEWAY_S)
        return caller

    async def close(self) -> None:
        """Close the connection to the key server."""
        await self._keys.close()

    async def _check(self, token: str) -> _Claims:
        header = _header_of(token)
        if header.alg != ALGORITHM or header.typ.lower().removeprefix("application/") != TOKEN_TYPE:
            raise _invalid()
        try:
            key = await self._keys.find(header.kid)
        except KeySetUnavailable as exc:
            raise Unavailable("keys-unavailable", "Tokens cannot be verified just now.", retry_after_s=1.0) from exc
        if key is None:
            raise _invalid()
        try:
            # Times are checked below, with our own clock.
            payload = jwt.decode(
                token,
                key,
                algorithms=[ALGORITHM],
                issuer=self._issuer,
                audience=self._audience,
                options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
            claims = msgspec.convert(payload, _Claims)
        except (jwt.InvalidTokenError, msgspec.ValidationError) as exc:
            raise _invalid() from exc
        if not is_id(claims.sub):
            raise _invalid()
        return claims

    def _check_times(self, claims: _Claims, now_s: float) -> None:
        if now_s >= claims.exp + LEEWAY_S:
            raise _expired()
        if claims.nbf > now_s + LEEWAY_S or claims.iat > now_s + LEEWAY_S:
            raise _invalid()

    def _forget(self) -> None:
        """A key was added or taken back: what it signed must be verified anew."""
        self._verified.clear()


def _header_of(token: str) -> _Header:
    if len(token) > MAX_TOKEN_CHARS or token.count(".") != 2:
        raise _invalid()
    try:
        return msgspec.convert(jwt.get_unverified_header(token), _Header)
    except (jwt.InvalidTokenError, msgspec.ValidationError, ValueError) as exc:
        raise _invalid() from exc


def _invalid() -> Unauthenticated:
    # One sentence for all of them: which check failed is of use only to whoever is forging.
    return Unauthenticated("token-invalid", "The access token is not valid.", headers=_CHALLENGE)


def _expired() -> Unauthenticated:
    return Unauthenticated("token-expired", "The access token has expired.", headers=_CHALLENGE)
