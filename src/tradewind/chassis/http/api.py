"""Declaring operations: what the decorators of an `Api` write down, before any server exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal, TypeVar

import msgspec

Handler = Callable[..., Awaitable[Any]]
H = TypeVar("H", bound=Handler)

DEFAULT_TIMEOUT_S = 10.0
DEFAULT_MAX_BODY_BYTES = 1024 * 1024


class Access(msgspec.Struct, frozen=True):
    """Who may call an operation. `roles` is empty unless `kind` is `roles`; the role `admin` implies all."""

    kind: Literal["public", "optional", "signed-in", "roles"]
    roles: tuple[str, ...] = ()


PUBLIC = Access("public")
OPTIONAL = Access("optional")
SIGNED_IN = Access("signed-in")


def roles(*names: str) -> Access:
    """Any one of these roles; a caller without is answered 403."""
    return Access("roles", names)


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One method on one path, and all that the gateway, the binder and the OpenAPI document need to know of it."""

    method: str
    path: str
    handler: Handler
    access: Access
    status: int
    idempotent: bool
    prepare: Handler | None
    raises: tuple[str, ...]
    rate: Literal["default", "auth", "none"]
    timeout_s: float
    stream: bool
    raw: bool
    max_body_bytes: int
    listed: bool
    urgent: bool

    @property
    def name(self) -> str:
        """The handler's name, which is the OpenAPI operationId."""
        return self.handler.__name__


class Api:
    """The operations of one room, in the order they are declared. `tag` groups them in the documentation."""

    def __init__(self, room: str, *, tag: str, description: str = "") -> None:
        self.room = room
        self.tag = tag
        self.description = description
        self.operations: list[Operation] = []

    def get(self, path: str, **options: Any) -> Callable[[H], H]:
        """Declare a GET; the options are those of `operation`."""
        return self.operation("GET", path, **options)

    def post(self, path: str, **options: Any) -> Callable[[H], H]:
        """Declare a POST; the options are those of `operation`."""
        return self.operation("POST", path, **options)

    def put(self, path: str, **options: Any) -> Callable[[H], H]:
        """Declare a PUT; the options are those of `operation`."""
        return self.operation("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> Callable[[H], H]:
        """Declare a PATCH; the options are those of `operation`."""
        return self.operation("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> Callable[[H], H]:
        """Declare a DELETE; the options are those of `operation`."""
        return self.operation("DELETE", path, **{"status": 204, **options})

    def operation(
        self,
        method: str,
        path: str,
        *,
        access: Access,
        status: int = 200,
        idempotent: bool = False,
        prepare: Handler | None = None,
        raises: Sequence[str] = (),
        rate: Literal["default", "auth", "none"] = "default",
        timeout_s: float = DEFAULT_TIMEOUT_S,
        stream: bool = False,
        raw: bool = False,
        max_body_bytes: int = DEFAULT_MAX_BODY_BYTES,
        listed: bool = True,
        urgent: bool = False,
    ) -> Callable[[H], H]:
        """Declare one operation.

        Args:
            method: The HTTP method.
            path: Template such as `/v1/orders/{id}`.
            access: PUBLIC, OPTIONAL, SIGNED_IN or `roles(...)`.
            status: Status of the normal answer.
            idempotent: Require `Idempotency-Key` and run the handler inside the key's transaction (it takes `tx`).
            prepare: What an idempotent handler needs from elsewhere: awaited with the handler's own arguments before the
                transaction opens, since nothing remote may happen inside it. Its result reaches the handler as `prepared`.
            raises: Slugs of the domain refusals, for the documentation.
            rate: Rate limit class at the edge.
            timeout_s: Longest time the handler may take; 504 after.
            stream: The answer does not end by itself (server-sent events).
            raw: The handler takes the body's bytes as `body` (signed webhooks).
            max_body_bytes: Longest body; 413 beyond.
            listed: Whether the public OpenAPI document shows it.
            urgent: It finishes or undoes something (cancel, ship, a provider's webhook): under overload it goes first, and some
                places are for such operations alone.
        """

        def declare(handler: H) -> H:
            self.operations.append(
                Operation(
                    method=method,
                    path=path,
                    handler=handler,
                    access=access,
                    status=status,
                    idempotent=idempotent,
                    prepare=prepare,
                    raises=tuple(raises),
                    rate=rate,
                    timeout_s=timeout_s,
                    stream=stream,
                    raw=raw,
                    max_body_bytes=max_body_bytes,
                    listed=listed,
                    urgent=urgent,
                )
            )
            return handler

        return declare
