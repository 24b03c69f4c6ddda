"""What auth-service can do."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta

import msgspec

from tradewind.chassis.errors import Conflict, Forbidden, NotFound, Unauthenticated, Unavailable
from tradewind.chassis.ids import is_id, new_id
from tradewind.chassis.logs import get_logger
from tradewind.chassis.postgres import Tx
from tradewind.chassis.signing import KeysFileError
from tradewind.contracts.auth import UserDisabled, UserEnabled, UserRegistered, UserRolesChanged
from tradewind.services.auth import domain, store
from tradewind.services.auth.domain import Account, Credentials, Role, Session
from tradewind.services.auth.parts import Parts
from tradewind.services.auth.tokens import RefreshToken

CLEANUP_BATCH = 1_000
MAX_USER_AGENT_CHARS = 200

_log = get_logger("auth")


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """A session with its two tokens, in clear only here."""

    account: Account
    session_id: str
    access_token: str
    refresh_token: str

    def __repr__(self) -> str:
        return f"SignedIn(session_id={self.session_id!r})"


async def register(parts: Parts, *, email: str, password: str, name: str, user_agent: str) -> SignedIn:
    """Make a customer's account and sign in.

    Raises:
        Invalid: the address, the password or the name will not do.
        Conflict: `email-taken`.
        Unavailable: `overloaded`.
    """
    email, name = domain.normal_email(email), domain.normal_name(name)
    domain.check_password(password, email)
    password_hash = await parts.passwords.hash(password)
    account = Account(id=new_id(), email=email, name=name, roles=("customer",), disabled=False, version=1)
    async with parts.database.transaction() as tx:
        if not await _add_account(parts, tx, account, password_hash):
            raise Conflict("email-taken", "There is an account with this address already.")
        return await _open_session(parts, tx, account, password_version=1, user_agent=user_agent)


async def ensure_first_admin(parts: Parts, *, email: str, password: str) -> bool:
    """Make the first administrator unless the address has an account; safe on two instances at once. True if made.

    An account that is there is left as it is: the environment is not a way to reset a password or to gain a role.
    """
    email = domain.normal_email(email)
    if await store.find_credentials_by_email(parts.database, email):
        return False
    password_hash = await parts.passwords.hash(password)
    account = Account(id=new_id(), email=email, name="Administrator", roles=("admin",), disabled=False, version=1)
    async with parts.database.transaction() as tx:
        made = await _add_account(parts, tx, account, password_hash)
    if made:
        _log.info("first administrator made", user_id=account.id)
    return made


async def log_in(parts: Parts, *, email: str, password: str, user_agent: str) -> SignedIn:
    """Sign in with address and password. An unknown address takes the same work and gets the same answer.

    Raises:
        Unauthenticated: `credentials-wrong`.
        Forbidden: `user-disabled`, told only to who knows the password.
        Unavailable: `overloaded`.
    """
    credentials = await store.find_credentials_by_email(parts.database, domain.find_email(email) or "")
    verified = await parts.passwords.verify(password, credentials.password_hash if credentials else None)
    if credentials is None or not verified:
        raise _wrong()
    account = _enabled(credentials.account)
    async with parts.database.transaction() as tx:
        signed_in = await _open_session(
            parts, tx, account, password_version=credentials.password_version, user_agent=user_agent
        )
    if parts.passwords.is_dated(credentials.password_hash):
        await store.rehash(parts.database, credentials, await parts.passwords.hash(password))
    return signed_in


async def refresh(parts: Parts, *, refresh_token: str) -> SignedIn:
    """Give new tokens for the session that `refresh_token` is the present one of.

    A token that was used before ends its session: either its owner or a thief holds the later one, and we cannot tell which.

    Raises:
        Unauthenticated: `refresh-token-invalid`, whatever is wrong with it.
    """
    shown = RefreshToken.parse(refresh_token)
    if shown is None:
        raise _refresh_refused()
    successor = shown.successor()
    refreshed = await store.refresh_session(parts.database, shown, successor, parts.clock.now())
    if refreshed is None:
        ended = await store.end_lineage(parts.database, shown)
        if ended is not None and ended.expires_at > parts.clock.now():
            _log.warning(
                "a used refresh token was shown, its session is ended", session_id=ended.id, user_id=ended.user_id
            )
        raise _refresh_refused()
    return _signed_in(parts, refreshed.account, refreshed.session_id, successor)


async def log_out(parts: Parts, *, user_id: str, session_id: str) -> None:
    """End the caller's session; doing it twice is harmless."""
    if is_id(session_id):
        await store.end_session(parts.database, user_id, session_id)


async def list_sessions(parts: Parts, *, user_id: str, before: str | None, limit: int) -> list[Session]:
    """Up to `limit` sessions in which the user is signed in, the newest first."""
    return await store.list_sessions(parts.database, user_id, parts.clock.now(), before=before, limit=limit)


async def end_session(parts: Parts, *, user_id: str, session_id: str) -> None:
    """End one of the user's own sessions.

    Raises:
        NotFound: `not-found`, no such session, or somebody else's.
    """
    if not await store.end_session(parts.database, user_id, session_id):
        raise NotFound("not-found", "You have no such session.")


async def change_password(
    parts: Parts, *, user_id: str, session_id: str, current_password: str, new_password: str
) -> None:
    """Replace the password and end all other sessions of the user.

    Raises:
        Invalid: the new password will not do.
        Unauthenticated: `credentials-wrong`, the present password is another.
        Forbidden: `user-disabled`.
        Unavailable: `overloaded`.
    """
    credentials = await store.find_credentials(parts.database, user_id)
    if credentials is None:
        raise _wrong()
    domain.check_password(new_password, credentials.account.email, pointer="/new_password")
    await _verify(parts, credentials, current_password)
    password_hash = await parts.passwords.hash(new_password)
    async with parts.database.transaction() as tx:
        if not await store.set_password(tx, credentials, password_hash):
            raise _wrong()
        await store.end_sessions(tx, user_id, keep=session_id if is_id(session_id) else None)


async def set_roles(
    parts: Parts, *, actor_id: str, user_id: str, roles: Sequence[Role], require: Callable[[int], None]
) -> Account:
    """Give a user exactly `roles`; `require` is asked whether it may be done to the account's version.

    Raises:
        Forbidden: `role-required`.
        NotFound: `not-found`.
        Conflict: `version-mismatch` (412) or `last-admin`.
    """
    wanted = domain.normal_roles(roles)
    async with parts.database.transaction() as tx:
        admins = await store.lock_admins(tx)
        domain.check_may_set_roles(await store.find_account(tx, actor_id))
        target = _found(await store.lock_account(tx, user_id))
        require(target.version)
        if wanted == target.roles:
            return target
        if "admin" not in wanted:
            domain.check_admin_remains(admins, target)
        changed = await store.set_roles(tx, user_id, wanted)
        event = UserRolesChanged(user_id=user_id, roles=list(changed.roles))
        await parts.outbox.add(tx, event, key=user_id, version=changed.version)
    _log.info("roles set", user_id=user_id, by=actor_id, roles=list(changed.roles))
    return changed


async def disable(parts: Parts, *, actor_id: str, user_id: str) -> Account:
    """Keep a user from signing in and end all sessions; access tokens given out stay valid for their 10 minutes.

    Raises:
        Forbidden: `role-required`.
        NotFound: `not-found`.
        Conflict: `last-admin`.
    """
    async with parts.database.transaction() as tx:
        admins = await store.lock_admins(tx)
        actor = await store.find_account(tx, actor_id)
        target = _found(await store.lock_account(tx, user_id))
        domain.check_may_disable(actor, target)
        if target.disabled:
            return target
        domain.check_admin_remains(admins, target)
        changed = await store.set_disabled(tx, user_id, disabled=True)
        await store.end_sessions(tx, user_id)
        await parts.outbox.add(tx, UserDisabled(user_id=user_id), key=user_id, version=changed.version)
    _log.info("user disabled", user_id=user_id, by=actor_id)
    return changed


async def enable(parts: Parts, *, actor_id: str, user_id: str) -> Account:
    """Let a disabled user sign in again.

    Raises:
        Forbidden: `role-required`.
        NotFound: `not-found`.
    """
    async with parts.database.transaction() as tx:
        actor = await store.find_account(tx, actor_id)
        target = _found(await store.lock_account(tx, user_id))
        domain.check_may_disable(actor, target)
        if not target.disabled:
            return target
        changed = await store.set_disabled(tx, user_id, disabled=False)
        await parts.outbox.add(tx, UserEnabled(user_id=user_id), key=user_id, version=changed.version)
    _log.info("user enabled", user_id=user_id, by=actor_id)
    return changed


async def follow_name(tx: Tx, *, user_id: str, name: str, profile_version: int) -> None:
    """Take over the name from a user's profile, for the tokens to come."""
    await store.set_name(tx, user_id, name, profile_version)


async def forget_expired_sessions(parts: Parts) -> None:
    """Delete sessions past their time, `CLEANUP_BATCH` a statement."""
    now = parts.clock.now()
    while await store.delete_expired_sessions(parts.database, now, CLEANUP_BATCH) == CLEANUP_BATCH:
        pass


async def follow_signing_keys(parts: Parts) -> None:
    """Sign with, and publish, what the keys file says now. A file that cannot be used changes nothing.

    Raises:
        Unavailable: `signing-keys-unusable`; the log of the job says why.
    """
    if parts.signing_keys_file is None:
        return
    before = parts.tokens.key_ids()
    try:
        parts.tokens.follow(parts.signing_keys_file)
    except KeysFileError as exc:
        raise Unavailable("signing-keys-unusable", f"{exc}; the keys stay as they were.") from exc
    if (now := parts.tokens.key_ids()) != before:
        _log.info("signing keys changed", active=now[0], published=len(now))


async def _add_account(parts: Parts, tx: Tx, account: Account, password_hash: str) -> bool:
    if not await store.add_account(tx, account, password_hash, parts.clock.now()):
        return False
    event = UserRegistered(user_id=account.id, email=account.email, name=account.name, roles=list(account.roles))
    await parts.outbox.add(tx, event, key=account.id, version=account.version)
    return True


async def _open_session(parts: Parts, tx: Tx, account: Account, *, password_version: int, user_agent: str) -> SignedIn:
    now = parts.clock.now()
    session = Session(
        id=new_id(),
        user_id=account.id,
        user_agent=user_agent[:MAX_USER_AGENT_CHARS],
        created_at=now,
        refreshed_at=now,
        expires_at=now + timedelta(seconds=parts.session_ttl_s),
    )
    token = RefreshToken.new()
    if not await store.open_session(tx, session, token, password_version):
        # Disabled, or given another password, since the password was checked.
        raise _wrong()
    await store.trim_sessions(tx, account.id, domain.MAX_SESSIONS)
    return _signed_in(parts, account, session.id, token)


async def _verify(parts: Parts, credentials: Credentials, password: str) -> None:
    if not await parts.passwords.verify(password, credentials.password_hash):
        raise _wrong()
    _enabled(credentials.account)


def _signed_in(parts: Parts, account: Account, session_id: str, token: RefreshToken) -> SignedIn:
    return SignedIn(
        account=account,
        session_id=session_id,
        access_token=parts.tokens.issue(account, session_id),
        refresh_token=token.reveal(),
    )


def _enabled(account: Account) -> Account:
    if account.disabled:
        raise Forbidden("user-disabled", "This account is disabled.")
    return account


def _found(account: Account | None) -> Account:
    if account is None:
        raise NotFound("not-found", "There is no such user.")
    return account


def _wrong() -> Unauthenticated:
    return Unauthenticated("credentials-wrong", "The address or the password is wrong.")


def _refresh_refused() -> Unauthenticated:
    return Unauthenticated("refresh-token-invalid", "The refresh token is not valid; sign in again.")
