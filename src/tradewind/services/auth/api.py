"""The HTTP door of auth-service."""

from __future__ import annotations

import msgspec

from tradewind.chassis.http import PUBLIC, SIGNED_IN, Api, Call, Id, IfMatch, Page, PageQuery, Reply, etag, roles
from tradewind.services.auth import usecases
from tradewind.services.auth.domain import Account
from tradewind.services.auth.parts import Parts
from tradewind.services.auth.usecases import SignedIn
from tradewind.services.auth.wire import (
    AccountView,
    JwksView,
    Login,
    PasswordChange,
    Refresh,
    Registration,
    RoleSet,
    SessionView,
    TokensView,
    account_view,
    session_view,
    tokens_view,
)

JWKS_MAX_AGE_S = 60
_CREDENTIAL_HEADERS = {"cache-control": "no-store"}

api = Api(
    "auth", tag="Auth", description="Accounts, sessions, roles, and the keys that access tokens are verified with."
)


class _After(msgspec.Struct, frozen=True, array_like=True):
    """Where a page of sessions ends."""

    session_id: Id


@api.post("/v1/auth/register", access=PUBLIC, status=201, raises=("email-taken", "overloaded"), rate="auth")
async def register(call: Call[Parts], body: Registration) -> Reply[TokensView]:
    """Register and sign in.

    The address is checked for its syntax only and may be used at once.
    """
    return _tokens(
        await usecases.register(
            call.parts, email=body.email, password=body.password, name=body.name, user_agent=_user_agent(call)
        )
    )


@api.post("/v1/auth/login", access=PUBLIC, raises=("credentials-wrong", "user-disabled", "overloaded"), rate="auth")
async def login(call: Call[Parts], body: Login) -> Reply[TokensView]:
    """Sign in with address and password."""
    return _tokens(
        await usecases.log_in(call.parts, email=body.email, password=body.password, user_agent=_user_agent(call))
    )


@api.post("/v1/auth/refresh", access=PUBLIC, raises=("refresh-token-invalid",))
async def refresh(call: Call[Parts], body: Refresh) -> Reply[TokensView]:
    """Get new tokens for a session.

    The refresh token that was sent is used up. Sending it again ends the session, since one of its two senders must be a
    thief. So send it once at a time, and keep the new one before using it.
    """
    return _tokens(await usecases.refresh(call.parts, refresh_token=body.refresh_token))


@api.post("/v1/auth/logout", access=SIGNED_IN, status=204)
async def logout(call: Call[Parts]) -> None:
    """End this session.

    Its refresh token stops working at once; an access token is valid until it expires, at most 10 minutes later.
    """
    await usecases.log_out(call.parts, user_id=call.caller.subject, session_id=call.caller.session_id)


@api.get("/v1/auth/sessions", access=SIGNED_IN)
async def list_sessions(call: Call[Parts], page: PageQuery) -> Page[SessionView]:
    """List your sessions, the newest first.

    There are at most 100: signing in once more ends the oldest.
    """
    after = page.after(_After)
    found = await usecases.list_sessions(
        call.parts, user_id=call.caller.subject, before=after.session_id if after else None, limit=page.limit + 1
    )
    asking = call.caller.session_id
    return page.page(found, lambda session: session_view(session, asking=asking), lambda session: _After(session.id))


@api.delete("/v1/auth/sessions/{id}", access=SIGNED_IN, raises=("not-found",))
async def end_session(call: Call[Parts], id: Id) -> None:
    """End one of your sessions."""
    await usecases.end_session(call.parts, user_id=call.caller.subject, session_id=id)


@api.post(
    "/v1/auth/password/change", access=SIGNED_IN, status=204, raises=("credentials-wrong", "overloaded"), rate="auth"
)
async def change_password(call: Call[Parts], body: PasswordChange) -> None:
    """Change your password and end your other sessions."""
    await usecases.change_password(
        call.parts,
        user_id=call.caller.subject,
        session_id=call.caller.session_id,
        current_password=body.current_password,
        new_password=body.new_password,
    )


@api.put("/v1/users/{id}/roles", access=roles("admin"), raises=("not-found", "last-admin", "version-mismatch"))
async def set_roles(call: Call[Parts], id: Id, body: RoleSet, if_match: IfMatch) -> Reply[AccountView]:
    """Set all roles of a user.

    They are in the user's next access token, 10 minutes later at the latest. `If-Match` takes the `ETag` of this answer or of
    `GET /v1/users/{id}`.
    """
    return _account(
        await usecases.set_roles(
            call.parts, actor_id=call.caller.subject, user_id=id, roles=body.roles, require=if_match.require
        )
    )


@api.post("/v1/users/{id}/disable", access=roles("support"), raises=("not-found", "last-admin"))
async def disable_user(call: Call[Parts], id: Id) -> Reply[AccountView]:
    """Disable a user.

    All sessions end. An administrator is disabled by an administrator only.
    """
    return _account(await usecases.disable(call.parts, actor_id=call.caller.subject, user_id=id))


@api.post("/v1/users/{id}/enable", access=roles("support"), raises=("not-found",))
async def enable_user(call: Call[Parts], id: Id) -> Reply[AccountView]:
    """Let a disabled user sign in again."""
    return _account(await usecases.enable(call.parts, actor_id=call.caller.subject, user_id=id))


@api.get("/.well-known/jwks.json", access=PUBLIC)
async def jwks(call: Call[Parts]) -> Reply[JwksView]:
    """Get the public keys that access tokens are signed with."""
    headers = {"cache-control": f"public, max-age={JWKS_MAX_AGE_S}"}
    return Reply(JwksView(call.parts.tokens.jwks()["keys"]), headers=headers)


def _tokens(signed_in: SignedIn) -> Reply[TokensView]:
    return Reply(tokens_view(signed_in), headers=_CREDENTIAL_HEADERS)


def _account(account: Account) -> Reply[AccountView]:
    return Reply(account_view(account), etag=etag(account.version))


def _user_agent(call: Call[Parts]) -> str:
    return call.request.headers.get("user-agent", "")
