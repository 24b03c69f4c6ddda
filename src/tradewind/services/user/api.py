"""The HTTP door of user-service."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import msgspec

from tradewind.chassis.http import SIGNED_IN, Api, Call, Id, IfMatch, Page, PageQuery, Reply, etag, roles
from tradewind.services.user import usecases
from tradewind.services.user.domain.address import Address, AddressChanges, AddressFields
from tradewind.services.user.domain.profile import Profile, ProfileChanges
from tradewind.services.user.parts import Parts

api = Api("user", tag="Users", description="Profiles and addresses.")


class MeView(msgspec.Struct, frozen=True, kw_only=True):
    """The caller's own profile."""

    id: str
    email: str
    name: str
    roles: tuple[str, ...]
    locale: str | None
    phone: str | None


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """A user as support sees one. `registered_at` is null for the moment until the registration has arrived here."""

    id: str
    email: str
    name: str
    roles: tuple[str, ...]
    locale: str | None
    phone: str | None
    disabled: bool
    registered_at: datetime | None


class AddressView(AddressFields, frozen=True, kw_only=True):
    """An address the caller keeps."""

    id: str


class _Position(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ends."""

    id: Id


@api.get("/v1/users/me", access=SIGNED_IN)
async def get_me(call: Call[Parts]) -> Reply[MeView]:
    """Get your profile."""
    return _me(await usecases.get_me(call.parts, call.caller))


@api.patch("/v1/users/me", access=SIGNED_IN, raises=("version-mismatch",))
async def change_me(call: Call[Parts], body: ProfileChanges, if_match: IfMatch) -> Reply[MeView]:
    """Change your profile.

    What is left out stays, null clears. A new name is in your next access token.
    """
    return _me(await usecases.change_me(call.parts, call.caller, body, require=if_match.require))


@api.get("/v1/users/me/addresses", access=SIGNED_IN)
async def list_addresses(call: Call[Parts], page: PageQuery) -> Page[AddressView]:
    """List your addresses, the oldest first."""
    after = page.after(_Position)
    found = await usecases.list_addresses(
        call.parts, call.caller.subject, after=after.id if after else None, limit=page.limit + 1
    )
    return page.page(found, _address_view, lambda address: _Position(address.id))


@api.post("/v1/users/me/addresses", access=SIGNED_IN, status=201, raises=("too-many-addresses",))
async def add_address(call: Call[Parts], body: AddressFields) -> Reply[AddressView]:
    """Add an address.

    At most 50. The first one is the default.
    """
    added = await usecases.add_address(call.parts, call.caller, body)
    return Reply(_address_view(added), etag=etag(added.version), location=f"/v1/users/me/addresses/{added.id}")


@api.get("/v1/users/me/addresses/{id}", access=SIGNED_IN, raises=("not-found",))
async def get_address(call: Call[Parts], id: Id) -> Reply[AddressView]:
    """Get one of your addresses."""
    return _address(await usecases.get_address(call.parts, call.caller.subject, id))


@api.put("/v1/users/me/addresses/{id}", access=SIGNED_IN, raises=("not-found", "version-mismatch"))
async def replace_address(call: Call[Parts], id: Id, body: AddressFields, if_match: IfMatch) -> Reply[AddressView]:
    """Replace one of your addresses."""
    return _address(await usecases.replace_address(call.parts, call.caller, id, body, require=if_match.require))


@api.patch("/v1/users/me/addresses/{id}", access=SIGNED_IN, raises=("not-found", "version-mismatch"))
async def change_address(call: Call[Parts], id: Id, body: AddressChanges, if_match: IfMatch) -> Reply[AddressView]:
    """Change one of your addresses.

    What is left out stays, null clears.
    """
    return _address(await usecases.change_address(call.parts, call.caller, id, body, require=if_match.require))


@api.delete("/v1/users/me/addresses/{id}", access=SIGNED_IN, raises=("not-found", "version-mismatch"))
async def delete_address(call: Call[Parts], id: Id, if_match: IfMatch) -> None:
    """Delete one of your addresses.

    Orders keep their own copy of where they went.
    """
    await usecases.delete_address(call.parts, call.caller, id, require=if_match.require)


@api.get("/v1/users", access=roles("support"))
async def search_users(
    call: Call[Parts], page: PageQuery, query: Annotated[str, msgspec.Meta(max_length=200)] = ""
) -> Page[UserView]:
    """Find users by a part of their address or name, the newest first."""
    after = page.after(_Position)
    found = await usecases.search_users(call.parts, query, before=after.id if after else None, limit=page.limit + 1)
    return page.page(found, _user_view, lambda profile: _Position(profile.id))


@api.get("/v1/users/{id}", access=roles("support"), raises=("not-found",))
async def get_user(call: Call[Parts], id: Id) -> Reply[UserView]:
    """Get a user.

    The `ETag` is the version of the account, which `PUT /v1/users/{id}/roles` takes.
    """
    profile = await usecases.get_user(call.parts, id)
    return Reply(_user_view(profile), etag=etag(profile.account_version))


def _me(profile: Profile) -> Reply[MeView]:
    return Reply(msgspec.convert(profile, MeView, from_attributes=True), etag=etag(profile.version))


def _user_view(profile: Profile) -> UserView:
    return msgspec.convert(profile, UserView, from_attributes=True)


def _address(address: Address) -> Reply[AddressView]:
    return Reply(_address_view(address), etag=etag(address.version))


def _address_view(address: Address) -> AddressView:
    return AddressView(id=address.id, **msgspec.structs.asdict(address.fields))
