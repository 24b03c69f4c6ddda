"""How auth-service is assembled."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from tradewind.chassis.foundation import Foundation
from tradewind.chassis.service import Service
from tradewind.chassis.signing import TokenSigner
from tradewind.contracts import auth as contract
from tradewind.services.auth import usecases
from tradewind.services.auth.api import api
from tradewind.services.auth.consumer import handlers
from tradewind.services.auth.jobs import jobs
from tradewind.services.auth.parts import Parts
from tradewind.services.auth.passwords import Passwords
from tradewind.services.auth.settings import AuthSettings
from tradewind.services.auth.tokens import AccessTokens


def create_app(settings: AuthSettings, parts: Parts | None = None) -> Service[Parts]:
    """The service, ready to be served; `parts` replaces what it would assemble by itself."""

    @contextlib.asynccontextmanager
    async def assemble(foundation: Foundation) -> AsyncIterator[Parts]:
        if parts is not None:
            yield parts
            return
        with contextlib.closing(Passwords(threads=settings.hash_threads, max_waiting=settings.hash_queue)) as passwords:
            signer = TokenSigner.load(Path(settings.signing_keys_file))
            made = Parts(
                database=foundation.database,
                outbox=foundation.outbox,
                clock=foundation.clock,
                passwords=passwords,
                tokens=AccessTokens(signer, foundation.clock),
                session_ttl_s=settings.session_ttl_s,
                signing_keys_file=Path(settings.signing_keys_file),
            )
            if settings.admin_password:
                await usecases.ensure_first_admin(
                    made, email=settings.admin_email, password=settings.admin_password.reveal()
                )
            yield made

    return Service(room="auth", api=api, assemble=assemble, handlers=handlers, jobs=jobs, emits=contract.EVENTS)
