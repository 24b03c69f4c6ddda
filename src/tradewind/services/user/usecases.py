"""What user-service can do."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tradewind.chassis.errors import NotFound
from tradewind.chassis.events import Received
from tradewind.chassis.identity import Caller
from tradewind.chassis.ids import new_id
from tradewind.chassis.postgres import Tx
from tradewind.contracts.auth import UserRegistered
from tradewind.contracts.user import UserProfileChanged
from tradewind.services.user import store
from tradewind.services.user.domain import address as addresses
from tradewind.services.user.domain import profile as profiles
from tradewind.services.user.domain.address import Address, AddressChanges, AddressFields
from tradewind.services.user.domain.profile import Profile, ProfileChanges
from tradewind.services.user.parts import Parts

Precondition = Callable[[int], None]
"""Asked with the version a change would be made to; raises `Conflict` (412)."""


async def get_me(parts: Parts, caller: Caller) -> Profile:
    """The caller's own profile; out of the token until auth-service's event has arrived."""
    return await store.find_profile(parts.database, caller.subject) or _claimed(caller)


async def change_me(parts: Parts, caller: Caller, changes: ProfileChanges, *, require: Precondition) -> Profile:
    """Change the caller's own profile.

    Raises:
        Conflict: 412 `version-mismatch`.
    """
    async with parts.database.transaction() as tx:
        present = await store.lock_profile(tx, _claimed(caller))
        require(present.version)
        changed = profiles.change(present, changes)
        if changed is present:
            return present
        await store.save_profile(tx, changed)
        if changed.event_version != present.event_version:
            event = UserProfileChanged(user_id=changed.id, name=changed.name, locale=changed.locale)
            await parts.outbox.add(tx, event, key=changed.id, version=changed.event_version)
    return changed


async def list_addresses(parts: Parts, user_id: str, *, after: str | None, limit: int) -> list[Address]:
    """Up to `limit` of the user's addresses, the oldest first."""
    return await store.list_addresses(parts.database, user_id, after=after, limit=limit)


async def add_address(parts: Parts, caller: Caller, fields: AddressFields) -> Address:
    """Keep one more address; the first one is the default whatever it says.

    Raises:
        Invalid: there is no such country.
        Conflict: `too-many-addresses`.
    """
    fields = addresses.tidied(fields)
    async with parts.database.transaction() as tx:
        await store.lock_profile(tx, _claimed(caller))
        present = await store.count_addresses(tx, caller.subject)
        addresses.check_room(present)
        if present == 0:
            fields = msgspec.structs.replace(fields, is_default=True)
        added = Address(id=new_id(), user_id=caller.subject, fields=fields)
        await _keep_one_default(tx, added)
        await store.add_address(tx, added)
    return added


async def get_address(parts: Parts, user_id: str, address_id: str) -> Address:
    """One of the user's addresses.

    Raises:
        NotFound: `not-found`, no such address, or somebody else's.
    """
    return _found(await store.find_address(parts.database, user_id, address_id))


async def replace_address(
    parts: Parts, caller: Caller, address_id: str, fields: AddressFields, *, require: Precondition
) -> Address:
    """Replace one of the caller's addresses.

    Raises:
        Invalid: there is no such country.
        NotFound: `not-found`.
        Conflict: 412 `version-mismatch`.
    """
    return await _change_address(parts, caller, address_id, lambda _: fields, require)


async def change_address(
    parts: Parts, caller: Caller, address_id: str, changes: AddressChanges, *, require: Precondition
) -> Address:
    """Change parts of one of the caller's addresses; raises as `replace_address`."""
    return await _change_address(parts, caller, address_id, lambda fields: addresses.merged(fields, changes), require)


async def delete_address(parts: Parts, caller: Caller, address_id: str, *, require: Precondition) -> None:
    """Forget one of the caller's addresses. No other becomes the default instead.

    Raises:
        NotFound: `not-found`.
        Conflict: 412 `version-mismatch`.
    """
    async with parts.database.transaction() as tx:
        await store.lock_profile(tx, _claimed(caller))
        require(_found(await store.find_address(tx, caller.subject, address_id)).version)
        await store.delete_address(tx, address_id)


async def search_users(parts: Parts, text: str, *, before: str | None, limit: int) -> list[Profile]:
    """Up to `limit` users whose address or name has `text` in it, the newest first; all of them for no text."""
    return await store.search_profiles(parts.database.read, text.strip(), before=before, limit=limit)


async def get_user(parts: Parts, user_id: str) -> Profile:
    """Any user.

    Raises:
        NotFound: `not-found`.
    """
    profile = await store.find_profile(parts.database, user_id)
    if profile is None:
        raise _no_user()
    return profile


async def follow_registration(tx: Tx, event: Received[UserRegistered]) -> None:
    """Take over a new account."""
    account = event.data
    await store.put_account(
        tx,
        user_id=account.user_id,
        email=account.email,
        name=account.name,
        roles=account.roles,
        registered_at=event.time,
        account_version=event.version,
    )


async def follow_roles(tx: Tx, *, user_id: str, roles: list[str], account_version: int) -> None:
    """Take over a user's roles.

    Raises:
        NotFound: `not-found`, the registration is not here (yet).
    """
    if not await store.set_roles(tx, user_id, roles, account_version):
        raise _no_user()


async def follow_disabling(tx: Tx, *, user_id: str, disabled: bool, account_version: int) -> None:
    """Take over whether a user is disabled.

    Raises:
        NotFound: `not-found`, the registration is not here (yet).
    """
    if not await store.set_disabled(tx, user_id, disabled=disabled, account_version=account_version):
        raise _no_user()


async def _change_address(
    parts: Parts,
    caller: Caller,
    address_id: str,
    fields_of: Callable[[AddressFields], AddressFields],
    require: Precondition,
) -> Address:
    async with parts.database.transaction() as tx:
        await store.lock_profile(tx, _claimed(caller))
        present = _found(await store.find_address(tx, caller.subject, address_id))
        require(present.version)
        changed = addresses.changed(present, fields_of(present.fields))
        if changed is not present:
            await _keep_one_default(tx, changed)
            await store.save_address(tx, changed)
    return changed


async def _keep_one_default(tx: Tx, address: Address) -> None:
    if address.fields.is_default:
        await store.clear_default_address(tx, address.user_id, but=address.id)


def _claimed(caller: Caller) -> Profile:
    """The profile as the caller's token has it: what the registration will bring, in its first version."""
    return Profile(id=caller.subject, email=caller.email, name=caller.name, roles=tuple(sorted(caller.roles)))


def _found(address: Address | None) -> Address:
    if address is None:
        raise NotFound("not-found", "You have no such address.")
    return address


def _no_user() -> NotFound:
    return NotFound("not-found", "There is no such user.")
