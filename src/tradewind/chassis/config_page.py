"""`/configz` on the management port: every setting of this process, its value now, and which layer it came from.

`POST /configz/check` with `{"values": {"LOG_LEVEL": "debug"}}` says what this process would have against those live values,
and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tradewind.chassis.live import Live
from tradewind.chassis.live_document import MAX_DOCUMENT_BYTES
from tradewind.chassis.setting_kinds import example_of, kind_of
from tradewind.chassis.settings import Field, Layers, Origin, Secret, Settings, SettingsError, describe, hints

MASK = "***"


class SettingRow(msgspec.Struct, frozen=True, kw_only=True):
    """One setting: its value in force, the layer that won, and what each layer says. Secrets are masked."""

    key: str
    value: str
    origin: Origin
    live: bool
    secret: bool
    meaning: str
    kind: str
    example: str
    default: str
    layers: dict[str, str]


class ConfigPage(msgspec.Struct, frozen=True, kw_only=True):
    """What `/configz` answers. `refused` says why the latest live document, of version `judged`, is not in force."""

    instance: str
    version: int
    judged: int
    refused: str
    settings: list[SettingRow]


class Proposal(msgspec.Struct, frozen=True):
    """All live values as they would be."""

    values: dict[str, str]


class Judgement(msgspec.Struct, frozen=True):
    """What is wrong with a proposal; empty when nothing is."""

    faults: list[str]


def config_page(live: Live[Any], instance: str) -> ConfigPage:
    """The page of one process."""
    rows = setting_rows(type(live.start), live.layers, live.document.values, live.value)
    return ConfigPage(instance=instance, version=live.version, judged=live.judged, refused=live.refused, settings=rows)


def setting_rows(
    kind: type[Settings], layers: Layers, live: Mapping[str, str], value: Settings | None = None
) -> list[SettingRow]:
    """Every setting of `kind`. Without `value` it shows what the layers say as they say it."""
    types = hints(kind)
    rows = []
    for field in describe(kind):
        said = _said(field, layers, live)
        origin: Origin = next(iter(said), "default")
        inside = getattr(value, field.field) if value is not None else None
        shown = _text(inside) if value is not None else said.get(origin, field.default)
        masked = bool(field.secret and (said or inside))
        rows.append(
            SettingRow(
                key=field.env,
                value=MASK if masked else shown,
                origin=origin,
                live=field.live,
                secret=field.secret,
                meaning=field.meaning,
                kind="a secret" if field.secret else kind_of(types[field.field]),
                example="" if field.secret else example_of(types[field.field], field.default),
                default=field.default,
                layers={name: MASK if field.secret else text for name, text in said.items()},
            )
        )
    return rows


def _said(field: Field, layers: Layers, live: Mapping[str, str]) -> dict[Origin, str]:
    """What each layer above the default says, the one that wins first."""
    said: dict[Origin, str] = {}
    if field.live and (text := live.get(field.env)):
        said["live"] = text
    try:
        said.update(layers.found(field.env))
    except OSError:
        said["environment"] = MASK  # its file was there at the start, and is gone
    return said


def _text(value: object) -> str:
    if isinstance(value, Secret) or value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def config_routes(live: Live[Any], instance: str) -> list[Route]:
    """`/configz` and `/configz/check`, for the management port."""

    async def configz(_request: Request) -> Response:
        return Response(msgspec.json.encode(config_page(live, instance)), media_type="application/json")

    async def check(request: Request) -> Response:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_DOCUMENT_BYTES:
                return Response(status_code=413)
        try:
            proposal = msgspec.json.decode(body, type=Proposal)
        except msgspec.MsgspecError as exc:
            return Response(msgspec.json.encode(Judgement([str(exc)])), 400, media_type="application/json")
        return Response(msgspec.json.encode(Judgement(_faults(live, proposal.values))), media_type="application/json")

    return [Route("/configz", configz), Route("/configz/check", check, methods=["POST"])]


def _faults(live: Live[Any], values: Mapping[str, str]) -> list[str]:
    try:
        live.with_values(values)
    except SettingsError as error:
        return error.faults
    return []
