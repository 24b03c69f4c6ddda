"""Postal addresses of a user: at most 50, at most one of them the default."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from tradewind.chassis.errors import Conflict, FieldError, Invalid
from tradewind.services.user.domain.text import Line, ShortLine

MAX_ADDRESSES = 50

# ISO 3166-1 alpha-2, officially assigned: https://www.iso.org/obp/ui/#search/code/
COUNTRIES = frozenset(
    """
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ
    CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO
    FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE
    JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO
    MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW
    PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM
    TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
    """.split()  # noqa: SIM905 - a table of codes
)

Country = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Z]{2}(?![\s\S])", description="ISO 3166-1 alpha-2 code.", examples=["GB"])
]


class AddressFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a user writes on an envelope. Setting `is_default` takes it from the present default."""

    name: Line
    line1: Line
    line2: Line | None = None
    city: Line
    postal_code: ShortLine
    region: Line | None = None
    country: Country
    is_default: bool = False


class AddressChanges(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change: a field that is left out stays, null clears it."""

    name: Line | UnsetType = UNSET
    line1: Line | UnsetType = UNSET
    line2: Line | UnsetType | None = UNSET
    city: Line | UnsetType = UNSET
    postal_code: ShortLine | UnsetType = UNSET
    region: Line | UnsetType | None = UNSET
    country: Country | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """An address of `user_id`."""

    id: str
    user_id: str
    fields: AddressFields
    version: int = 1


def tidied(fields: AddressFields) -> AddressFields:
    """`fields` without blanks around the texts.

    Raises:
        Invalid: 422 at `/country`, no country has this code.
    """
    if fields.country not in COUNTRIES:
        detail = "No country has this ISO 3166-1 alpha-2 code."
        raise Invalid("invalid", detail, errors=[FieldError("/country", "country", detail)])
    given = msgspec.structs.asdict(fields)
    return msgspec.structs.replace(
        fields, **{key: text.strip() for key, text in given.items() if isinstance(text, str)}
    )


def changed(address: Address, fields: AddressFields) -> Address:
    """`address` with other fields and the next version; the very same object where nothing is different.

    Raises:
        Invalid: 422 at `/country`.
    """
    fields = tidied(fields)
    if fields == address.fields:
        return address
    return msgspec.structs.replace(address, fields=fields, version=address.version + 1)


def merged(fields: AddressFields, changes: AddressChanges) -> AddressFields:
    """`fields` with what `changes` names."""
    named: dict[str, Any] = {key: value for key, value in msgspec.structs.asdict(changes).items() if value is not UNSET}
    return msgspec.structs.replace(fields, **named)


def check_room(present: int) -> None:
    """Refuse one more address than a user may have.

    Raises:
        Conflict: 409 `too-many-addresses`.
    """
    if present >= MAX_ADDRESSES:
        raise Conflict("too-many-addresses", f"You have {present} addresses; delete one first.")
