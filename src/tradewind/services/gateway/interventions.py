"""What an administrator may do to traffic: begin an intervention, end one, see which run. Control port only."""

from __future__ import annotations

from collections import Counter

import msgspec

from tradewind.chassis.errors import Forbidden, Invalid, NotFound, Unauthenticated, Unavailable
from tradewind.chassis.identity import Caller, TokenVerifier
from tradewind.chassis.jwks import KeySetUnavailable
from tradewind.chassis.logs import get_logger
from tradewind.mesh.intervention_table import TableFull
from tradewind.mesh.interventions import KINDS, Intervention, Order, described, faults_of, target_of
from tradewind.services.gateway.parts import Parts
from tradewind.services.gateway.store import KeyStore

OPERATOR_ROLE = "admin"
ACCEPTED_WITHIN_S = 2.0

_log = get_logger("audit")


class HeldKeys:
    """The public keys this process holds, as a source for a verifier: nobody is asked."""

    def __init__(self, keys: KeyStore) -> None:
        self._keys = keys

    async def fetch(self) -> bytes:
        """The key set as JSON; raises KeySetUnavailable when none was ever known."""
        if self._keys.key_set is None:
            raise KeySetUnavailable("auth-service has not been reached yet")
        return msgspec.json.encode(self._keys.key_set)

    async def close(self) -> None:
        """Nothing is open."""


async def begin_intervention(parts: Parts, token: str, order: Order) -> Intervention:
    """Begin one; an earlier one of its kind at the same place ends. Returns once the Envoys do it, or after 2 s.

    Raises:
        Unauthenticated, Forbidden: the token is no administrator's.
        Invalid: `intervention-void`, it would do nothing, or not what is meant.
        Unavailable: there are too many, or it could not be written down.
    """
    caller = await require_operator(parts.operators, token)
    routes = {name: known.routes for name, known in parts.registry.services().items()}
    if faults := faults_of(order.what, routes):
        raise Invalid("intervention-void", "; ".join(faults) + ".")
    try:
        begun = parts.interventions.begin(order, set_by=caller.name or caller.subject)
    except TableFull as exc:
        raise Unavailable("interventions-full", f"{exc}; end one first.") from exc
    except OSError as exc:
        raise Unavailable("intervention-not-kept", f"It could not be written down: {exc}.") from exc
    _audit("intervention begun", begun, caller)
    await parts.xds.wait_until_accepted("", ACCEPTED_WITHIN_S)
    return begun


async def end_intervention(parts: Parts, token: str, intervention_id: str) -> None:
    """End one before its time. Returns once the Envoys have stopped doing it, or after 2 s.

    Raises:
        Unauthenticated, Forbidden: the token is no administrator's.
        NotFound: 404 `intervention-unknown`; it may have ended by itself.
        Unavailable: it could not be written down, and goes on.
    """
    caller = await require_operator(parts.operators, token)
    try:
        ended = parts.interventions.end(intervention_id)
    except OSError as exc:
        raise Unavailable("intervention-not-kept", f"Its end could not be written down: {exc}.") from exc
    if ended is None:
        raise NotFound("intervention-unknown", f"No intervention {intervention_id} runs.")
    _audit("intervention ended", ended, caller)
    await parts.xds.wait_until_accepted("", ACCEPTED_WITHIN_S)


async def list_interventions(parts: Parts, token: str) -> list[Intervention]:
    """Those that run, the next to end first.

    Raises:
        Unauthenticated, Forbidden: the token is no administrator's.
    """
    await require_operator(parts.operators, token)
    return list(parts.interventions.running())


async def end_what_is_over(parts: Parts) -> None:
    """End the interventions whose time is over, and count those that run."""
    for over in parts.interventions.sweep():
        _audit("intervention over", over, None)
    running = Counter(each.kind for each in parts.interventions.running())
    parts.figures.note_interventions({kind: running[kind] for kind in KINDS})


def _audit(event: str, intervention: Intervention, caller: Caller | None) -> None:
    _log.warning(
        event,
        intervention=intervention.id,
        kind=intervention.kind,
        target=target_of(intervention.what),
        what=described(intervention.what),
        set_by=intervention.set_by,
        by=caller.subject if caller else "its own time",
        for_s=round(intervention.expires_at - intervention.set_at, 3),
        reason=intervention.reason,
    )


async def require_operator(operators: TokenVerifier, token: str) -> Caller:
    if not token:
        raise Unauthenticated("token-missing", "Send Authorization: Bearer <an administrator's access token>.")
    caller = await operators.verify(token)
    if not caller.has(OPERATOR_ROLE):
        raise Forbidden("role-missing", "Only an administrator may do this to traffic.")
    return caller
