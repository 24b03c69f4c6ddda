"""How user-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.service import Service
from tradewind.contracts import user as contract
from tradewind.services.user.api import api
from tradewind.services.user.consumer import handlers
from tradewind.services.user.parts import Parts
from tradewind.services.user.settings import UserSettings


def create_app(settings: UserSettings, parts: Parts | None = None) -> Service[Parts]:  # noqa: ARG001 - as in every room
    """The service, ready to be served; `parts` replaces what it would assemble by itself."""

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        yield parts or Parts(database=foundation.database, outbox=foundation.outbox)

    return Service(room="user", api=api, assemble=assemble, handlers=handlers, emits=contract.EVENTS)
