"""A user as the others see one: from auth-service's events, and from what the user says of himself."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import UNSET, UnsetType

from tradewind.services.user.domain.text import Line, Locale, Phone


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A user.

    Three versions: `version` of the profile as its owner sees it (its entity tag), `event_version` of the last
    `user.profile_changed` we emitted, `account_version` of the last event of auth-service we took over.
    """

    id: str
    email: str
    name: str
    roles: tuple[str, ...]
    locale: str | None = None
    phone: str | None = None
    disabled: bool = False
    registered_at: datetime | None = None
    version: int = 1
    event_version: int = 0
    account_version: int = 0


class ProfileChanges(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What to change: a field that is left out stays, null clears it."""

    name: Line | UnsetType = UNSET
    locale: Locale | UnsetType | None = UNSET
    phone: Phone | UnsetType | None = UNSET


def change(profile: Profile, changes: ProfileChanges) -> Profile:
    """`profile` with `changes`, its versions raised; the very same object where nothing is different.

    Only the name and the locale are of interest to others, so only they raise `event_version`.
    """
    name = profile.name if changes.name is UNSET else changes.name.strip()
    locale = profile.locale if changes.locale is UNSET else changes.locale
    phone = profile.phone if changes.phone is UNSET else changes.phone
    announced = (name, locale) != (profile.name, profile.locale)
    if not announced and phone == profile.phone:
        return profile
    return msgspec.structs.replace(
        profile,
        name=name,
        locale=locale,
        phone=phone,
        version=profile.version + 1,
        event_version=profile.event_version + announced,
    )
