"""What an instance says of itself when it registers: where it listens and which operations it serves."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Access: TypeAlias = Literal["public", "optional", "signed-in", "roles"]
Rate: TypeAlias = Literal["default", "auth", "none"]

MAX_ROUTES = 512
MAX_TIMEOUT_S = 600.0
MAX_BODY_BYTES = 64 * 1024 * 1024
DEFAULT_BODY_BYTES = 1024 * 1024

Room = Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9]{0,30}$")]
"""A room's noun: `order`. No dash, so that `order-1` and `order-service` can only be the room's own."""

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Address = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z.:-]{1,253}$")]
PathTemplate = Annotated[str, msgspec.Meta(pattern=r"^/[A-Za-z0-9._~:/{}-]*$", max_length=512)]


class DeclaredRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One path template with the methods that share these properties; several may have the same path."""

    path: PathTemplate
    methods: Annotated[tuple[Method, ...], msgspec.Meta(min_length=1)]
    access: Access = "signed-in"
    roles: tuple[str, ...] = ()
    idempotent: bool = False
    rate: Rate = "default"
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_TIMEOUT_S)] = 10.0
    stream: bool = False
    websocket: bool = False
    """Whether a GET may become a WebSocket; elsewhere an upgrade is refused."""
    max_body_bytes: Annotated[int, msgspec.Meta(ge=0, le=MAX_BODY_BYTES)] = DEFAULT_BODY_BYTES

    @property
    def endless(self) -> bool:
        """Whether an answer lasts as long as the client likes: no time-out, nothing held back."""
        return self.stream or self.websocket


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """One process of a service. `address` and `port` are where Envoy reaches it, `management_port` where it does not."""

    service: str
    room: Room
    instance: Annotated[str, msgspec.Meta(pattern="^[a-z][a-z0-9-]{0,62}$")]
    address: Address
    port: Port
    management_port: Port
    version: Annotated[str, msgspec.Meta(max_length=64)] = ""
    routes: Annotated[tuple[DeclaredRoute, ...], msgspec.Meta(max_length=MAX_ROUTES)] = ()

    def faults(self) -> list[str]:
        """What contradicts the naming rule that binds a room, its service and its instances; empty when nothing."""
        found = []
        if self.service != f"{self.room}-service":
            found.append(f"room {self.room} may only serve as {self.room}-service, not as {self.service}")
        if not self.instance.startswith(f"{self.room}-"):
            found.append(f"instances of room {self.room} are named {self.room}-..., not {self.instance}")
        return found


class Registration(Instance, frozen=True, kw_only=True):
    """The body of `POST /v1/instances`: an instance, and the OpenAPI 3.1 document of its public operations."""

    openapi: dict[str, Any] = {}

    def described(self) -> Instance:
        """The instance without its document."""
        return Instance(**{name: getattr(self, name) for name in Instance.__struct_fields__})


class Lease(msgspec.Struct, frozen=True):
    """The term for which an instance counts as alive without a sign of life, and the name of that term."""

    lease_s: float
    lease_id: str
