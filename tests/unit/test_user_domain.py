"""The rules of profiles and addresses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tradewind.chassis.errors import Conflict, Invalid
from tradewind.services.user.domain.address import (
    COUNTRIES,
    MAX_ADDRESSES,
    Address,
    AddressChanges,
    AddressFields,
    changed,
    check_room,
    merged,
    tidied,
)
from tradewind.services.user.domain.profile import Profile, ProfileChanges, change
from tradewind.services.user.domain.text import Line, Locale, Phone

ADA = Profile(id="a", email="ada@example.test", name="Ada", roles=("customer",), locale="en", phone="+441632960961")
HOME = AddressFields(name="Ada", line1="1 Old St", city="London", postal_code="E1", country="GB")


def fits(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


@pytest.mark.parametrize("text", ["A", " A ", "Łódź", "1 Old St", "a" * 200, "\u2003x"])
def test_lines(text: str) -> None:
    assert fits(text, Line)


@pytest.mark.parametrize("text", ["", " ", "\u2003", "a\n", "\na", "a\tb", "a\0", "a\x7f", "a" * 201, "a\r\nb"])
def test_what_is_no_line(text: str) -> None:
    assert not fits(text, Line)


def test_locales_and_phones() -> None:
    assert all(fits(text, Locale) for text in ("en", "de-CH", "zh-Hant-TW", "gsw"))
    assert not any(fits(text, Locale) for text in ("", "e", "en-", "en_GB", "en\n", "english", "en-GB\n", "-en"))
    assert all(fits(text, Phone) for text in ("+441632960961", "+1234567"))
    assert not any(
        fits(text, Phone) for text in ("", "0441632960961", "+0441632", "+123456", "+" + "1" * 16, "+1234567\n")
    )


def test_what_is_left_out_stays() -> None:
    assert change(ADA, ProfileChanges()) is ADA
    assert change(ADA, ProfileChanges(name=" Ada ", locale="en", phone=ADA.phone)) is ADA


def test_a_new_name_is_told() -> None:
    after = change(ADA, ProfileChanges(name=" Ada King "))
    assert (after.name, after.locale, after.phone) == ("Ada King", "en", ADA.phone)
    assert (after.version, after.event_version) == (2, 1)


def test_null_clears_and_a_phone_is_nobody_elses_business() -> None:
    after = change(ADA, ProfileChanges(phone=None))
    assert (after.phone, after.version, after.event_version) == (None, 2, 0)
    after = change(after, ProfileChanges(locale=None))
    assert (after.locale, after.version, after.event_version) == (None, 3, 1)


def test_there_are_249_countries() -> None:
    assert len(COUNTRIES) == 249
    assert {"GB", "DE", "US", "JP", "AQ"} <= COUNTRIES
    assert not {"UK", "EU", "XX", "ZZ"} & COUNTRIES


def test_addresses_are_tidied() -> None:
    given = msgspec.structs.replace(HOME, name=" Ada ", line2=" b ")
    assert tidied(given) == msgspec.structs.replace(HOME, line2="b")
    with pytest.raises(Invalid) as refused:
        tidied(msgspec.structs.replace(HOME, country="XX"))
    assert refused.value.errors[0].pointer == "/country"


def test_changes_are_merged() -> None:
    address = Address(id="1", user_id="a", fields=msgspec.structs.replace(HOME, line2="b", region="c"))
    assert changed(address, merged(address.fields, AddressChanges())) is address
    after = changed(address, merged(address.fields, AddressChanges(line2=None, city=" Leeds ", is_default=True)))
    assert (after.fields.line2, after.fields.region, after.fields.city) == (None, "c", "Leeds")
    assert (after.fields.is_default, after.version) == (True, 2)


def test_there_is_room_for_fifty() -> None:
    check_room(MAX_ADDRESSES - 1)
    with pytest.raises(Conflict) as refused:
        check_room(MAX_ADDRESSES)
    assert refused.value.code == "too-many-addresses"
