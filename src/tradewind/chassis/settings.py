"""Settings of a process: one frozen class a room, read once from its layers; wrong values stop the start.

    class OrderSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
        PREFIX = "ORDER_"
        reservation_ttl_s: Annotated[Seconds, Setting("How long an unpaid order holds its stock.")] = 900.0

    settings = load(OrderSettings, os.environ)      # reads ORDER_RESERVATION_TTL_S

Every number has bounds (`Port`, `Count`, `Seconds`, `Share`, or its own `Meta`): a zero that would stop the platform
later stops the start. A field without a default is required. `NAME_FILE` may name a file that holds the value of `NAME`
(Kubernetes and compose secrets). Every wrong or missing variable is reported at once.

The layers, lowest first: the default, the file that `TRADEWIND_CONFIG_FILE` names (`settings_file`), the environment. Above
them, for fields with `live=True`, are the values that change while the process runs (`live`).
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import msgspec

from tradewind.chassis.settings_file import FILE_VARIABLE, ConfigFileError, read_file, room_of_prefix, texts


class Secret:
    """A value that never shows in a repr, a log line or an error. `reveal()` is the only way to it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself; hand it to the driver, keep it nowhere."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __bool__(self) -> bool:
        return bool(self._value)


class Setting(msgspec.Struct, frozen=True):
    """What a field means, in a sentence; `env` overrides the name made of prefix and field.

    A `live` field may change while the process runs: whoever reads it asks `Live.value` each time, or hears of the change.
    """

    meaning: str
    env: str = ""
    live: bool = False


Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=366 * 24 * 3600)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class SettingsError(Exception):
    """One or more variables are wrong or missing; the message names each, a line a variable."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all settings classes. `PREFIX` starts the names of a class's own variables."""

    PREFIX: ClassVar[str] = ""


class ServiceSettings(Settings, frozen=True, kw_only=True):
    """What every service needs from its environment, whatever it does."""

    host: Annotated[str, Setting("Address the service listens on.")] = "127.0.0.1"
    port: Annotated[Port, Setting("Port of the service's HTTP; 0 takes a free one.")] = 0
    management_port: Annotated[
        Port, Setting("Port of /livez, /readyz, /startupz and /metrics; 0 takes a free one.")
    ] = 0
    instance: Annotated[str, Setting("Name of this process among its kind; default: room and host name.")] = ""
    advertise_host: Annotated[
        str,
        Setting("Address others reach this instance at; default: the host, or the one the registry is reached from."),
    ] = ""
    pool_size: Annotated[Count, Setting("Most connections this process opens to its database.")] = 4
    drain_s: Annotated[Seconds, Setting("Longest wait for requests in flight when stopping.")] = 10.0
    environment: Annotated[Literal["dev", "prod"], Setting("dev allows the sandbox provider.", env="TRADEWIND_ENV")] = (
        "prod"
    )
    clock_skew_file: Annotated[
        str, Setting("File with the seconds by which this process's clock is to be wrong; for fault runs, dev only.")
    ] = ""
    bus_url: Annotated[
        Secret | None, Setting("Event bus: postgresql://... or kafka://host:port[,host:port][/prefix].", env="BUS_URL")
    ] = None
    valkey_url: Annotated[
        Secret | None, Setting("Cache: redis://; without it all works, slower.", env="VALKEY_URL")
    ] = None
    mesh_url: Annotated[str, Setting("The mesh egress through which other services are called.", env="MESH_URL")] = ""
    mesh_mtls: Annotated[
        Literal["off", "strict"],
        Setting(
            "strict: services and the mesh speak mutual TLS only, with certificates of the platform's own authority.",
            env="MESH_MTLS",
        ),
    ] = "off"
    mesh_authority_url: Annotated[
        str,
        Setting(
            "Control port that issues certificates; empty: the registry, where that is it.", env="MESH_AUTHORITY_URL"
        ),
    ] = ""
    registry_url: Annotated[
        str,
        Setting(
            "Where instances register: http://gateway:8082, consul://host:8500 or dns:; empty: not at all.",
            env="REGISTRY_URL",
        ),
    ] = ""
    registry_token: Annotated[Secret | None, Setting("This room's identity at the registry.", env="REGISTRY_TOKEN")] = (
        None
    )
    live_config_url: Annotated[
        str,
        Setting(
            "Where settings that change while running are kept: file:///path, or consul://host:8500/key.",
            env="LIVE_CONFIG_URL",
        ),
    ] = ""
    consul_token: Annotated[Secret | None, Setting("Consul ACL token.", env="CONSUL_HTTP_TOKEN")] = None
    consul_ca: Annotated[
        str, Setting("File with the authorities of consuls://; empty: the system's.", env="CONSUL_CACERT")
    ] = ""
    consul_cert: Annotated[str, Setting("File with our certificate towards Consul.", env="CONSUL_CLIENT_CERT")] = ""
    consul_key: Annotated[str, Setting("File with the key of that certificate.", env="CONSUL_CLIENT_KEY")] = ""
    jwks_url: Annotated[str, Setting("Public keys that access tokens are verified with.", env="JWKS_URL")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Setting("Least level written.", env="LOG_LEVEL", live=True)
    ] = "info"
    log_format: Annotated[Literal["json", "text"], Setting("Form of the log lines.", env="LOG_FORMAT")] = "json"
    otlp_endpoint: Annotated[
        str, Setting("OTLP/HTTP base URL traces go to; empty: nowhere.", env="OTEL_EXPORTER_OTLP_ENDPOINT")
    ] = ""
    trace_ratio: Annotated[Share, Setting("Share of new traces that are sampled.", env="OTEL_TRACES_SAMPLER_ARG")] = (
        0.01
    )

    def __post_init__(self) -> None:
        if self.clock_skew_file and self.environment != "dev":
            raise SettingsError(
                [f"{self.PREFIX}CLOCK_SKEW_FILE: makes the clock wrong, and is refused unless TRADEWIND_ENV=dev"]
            )


class DatabaseServiceSettings(ServiceSettings, frozen=True, kw_only=True):
    """What a service with a database of its own needs beside `ServiceSettings`."""

    database_url: Annotated[Secret, Setting("Connection string of the room's database; several hosts fail over.")]
    database_read_url: Annotated[Secret | None, Setting("Connection string of a read replica.")] = None
    relay_paused: Annotated[
        bool, Setting("Whether events of this room stay in its outbox for now; minutes at most.", live=True)
    ] = False
    consumer_paused: Annotated[
        bool, Setting("Whether this room leaves events on the bus for now; minutes at most.", live=True)
    ] = False


class Field(msgspec.Struct, frozen=True):
    """One row of the settings table: the variable, its meaning, whether it must be given, and its default as text."""

    env: str
    field: str
    meaning: str
    required: bool
    secret: bool
    default: str
    live: bool = False


Origin = Literal["live", "environment", "file", "default"]
ORIGINS: tuple[Origin, ...] = ("live", "environment", "file", "default")
"""The layers, the one that wins first."""


class Layers(msgspec.Struct, frozen=True):
    """What stands above the defaults of one class: texts by the name of the variable. An empty text counts as none."""

    environ: Mapping[str, str] = msgspec.field(default_factory=dict)
    file: Mapping[str, str] = msgspec.field(default_factory=dict)

    def found(self, env: str) -> Iterator[tuple[Origin, str]]:
        """The layers that say something about `env`, the one that wins first. Raises OSError: `env`_FILE cannot be read."""
        if text := _lookup(self.environ, env):
            yield "environment", text
        if text := self.file.get(env):
            yield "file", text


S = TypeVar("S", bound=Settings)


def describe(cls: type[Settings]) -> list[Field]:
    """All variables that `cls` reads, in the order of its fields."""
    return [_row(cls, field, hint) for field, hint in _fields(cls)]


def load(cls: type[S], environ: Mapping[str, str]) -> S:
    """Read `cls` from `environ`, and below it from the file that `environ` names.

    Raises:
        SettingsError: a variable is missing or does not fit its type, or the file is wrong; each one is named.
    """
    return load_layers(cls, read_layers(cls, environ))


def read_layers(cls: type[Settings], environ: Mapping[str, str]) -> Layers:
    """The environment, and what the file it names says to `cls`.

    Raises:
        SettingsError: the file is not there, is no TOML, or has something that `cls` does not know.
    """
    path = environ.get(FILE_VARIABLE)
    if not path:
        return Layers(environ)
    shared = {row.field: row.env for row in describe(DatabaseServiceSettings)}
    rows = describe(cls)
    own = {row.field: row.env for row in rows}
    secret = {row.env for row in rows if row.secret}
    try:
        return Layers(environ, texts(read_file(path), room_of_prefix(cls.PREFIX), own, shared, secret, path))
    except ConfigFileError as error:
        raise SettingsError(error.faults) from error


def load_layers(cls: type[S], layers: Layers) -> S:
    """Make `cls` of its layers.

    Raises:
        SettingsError: as `load` does.
    """
    values: dict[str, Any] = {}
    faults: list[str] = []
    for field, hint in _fields(cls):
        row = _row(cls, field, hint)
        try:
            found = next(layers.found(row.env), None)
        except OSError as exc:
            faults.append(f"{row.env}_FILE: cannot be read: {exc.strerror or exc}")
            continue
        text = found[1] if found else layers.environ.get(row.env)
        if text is None or (text == "" and not row.required):
            if row.required:
                faults.append(f"{row.env}: missing. {row.meaning}")
            continue
        try:
            values[field.name] = convert(text, hint)
        except ValueError as exc:
            shown = "(hidden)" if row.secret else repr(text)
            faults.append(f"{row.env}: {shown} does not fit: {exc}. {row.meaning}")
    if faults:
        raise SettingsError(faults)
    return cls(**values)


def convert(text: str, hint: Any) -> Any:
    """`text` as a value of the annotated type `hint`. Raises ValueError that says what would fit."""
    return msgspec.convert(text, hint, strict=False, dec_hook=_decode_secret)


def hints(cls: type[Settings]) -> dict[str, Any]:
    """The annotated type of each field."""
    return {field.name: hint for field, hint in _fields(cls)}


def _fields(cls: type[Settings]) -> Iterator[tuple[msgspec.structs.FieldInfo, Any]]:
    found = typing.get_type_hints(cls, include_extras=True)
    for field in msgspec.structs.fields(cls):
        yield field, found[field.name]


def _row(cls: type[Settings], field: msgspec.structs.FieldInfo, hint: Any) -> Field:
    setting = next((arg for arg in typing.get_args(hint) if isinstance(arg, Setting)), Setting(""))
    default = "" if field.default in (msgspec.NODEFAULT, None, "") else str(field.default)
    return Field(
        env=setting.env or cls.PREFIX + field.name.upper(),
        field=field.name,
        meaning=setting.meaning,
        required=field.required,
        secret=Secret in _plain_types(hint),
        default=default,
        live=setting.live,
    )


def _plain_types(hint: Any) -> tuple[Any, ...]:
    plain = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
    return (plain, *typing.get_args(plain))


def _lookup(environ: Mapping[str, str], name: str) -> str | None:
    if name in environ:
        return environ[name]
    file = environ.get(f"{name}_FILE")
    return Path(file).read_text().strip() if file else None


def _decode_secret(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(kind)
