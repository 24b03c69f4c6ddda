"""The weather: outages by the clock, webhooks late, twice and shuffled by the seed."""

from __future__ import annotations

from datetime import UTC, datetime

from tradewind.chassis.clock import ManualClock
from tradewind.sandbox.conditions import DOUBLE_SPREAD_MS, SHUFFLE_SPREAD_MS, Conditions, Control, OutageMode
from tradewind.sandbox.courier import BACKOFF_MAX_S, backoff_s
from tradewind.sandbox.settings import read_settings

ENVIRONMENT = {
    "TRADEWIND_ENV": "dev",
    "PSP_SANDBOX_STATE": "state",
    "PSP_SANDBOX_API_KEY": "sk_0123456789abcdef",
    "PSP_SANDBOX_WEBHOOK_SECRET": "whsec_0123456789abcdef",
}


def weather(clock: ManualClock | None = None, **settings: str) -> Conditions:
    environment = ENVIRONMENT | {f"PSP_SANDBOX_{name}": value for name, value in settings.items()}
    return Conditions(read_settings(environment), clock or ManualClock(datetime(2026, 1, 1, tzinfo=UTC)))


def departures(conditions: Conditions, count: int = 2000) -> list[list[int]]:
    return [conditions.webhook_departures_ms("charge.succeeded", f"r{n}") for n in range(count)]


def test_an_outage_ends_by_itself_or_when_told() -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    conditions = weather(clock)
    assert conditions.outage_left_s == 0
    conditions.change(Control(outage_s=10, outage_mode=OutageMode.SILENT))
    clock.advance(4)
    assert conditions.outage_left_s == 6
    clock.advance(6)
    assert conditions.outage_left_s == 0
    conditions.change(Control(outage_s=10))
    conditions.change(Control(outage_s=0))
    assert conditions.outage_left_s == 0
    assert conditions.outage_mode is OutageMode.SILENT


def test_what_is_not_named_stays() -> None:
    conditions = weather(LATENCY_MS="30", WEBHOOK_DELAY_MS="40")
    conditions.change(Control(latency_ms=0))
    assert (conditions.latency_ms, conditions.webhook_delay_ms) == (0, 40)


def test_about_one_in_twenty_webhooks_is_sent_twice() -> None:
    sent = departures(weather())
    doubled = [times for times in sent if len(times) == 2]
    assert 60 < len(doubled) < 140
    assert all(0 <= second - first < DOUBLE_SPREAD_MS for first, second in doubled)
    assert departures(weather()) == sent
    assert departures(weather(SEED="1")) != sent


def test_doubles_can_be_all_or_none() -> None:
    assert {len(times) for times in departures(weather(WEBHOOK_DOUBLE_PERCENT="0"))} == {1}
    assert {len(times) for times in departures(weather(WEBHOOK_DOUBLE_PERCENT="100"))} == {2}


def test_delay_and_shuffle_add_up() -> None:
    late = departures(weather(WEBHOOK_DELAY_MS="500", WEBHOOK_SHUFFLE="true", WEBHOOK_DOUBLE_PERCENT="0"))
    firsts = [times[0] for times in late]
    assert all(500 <= first < 500 + SHUFFLE_SPREAD_MS for first in firsts)
    assert firsts != sorted(firsts)


def test_back_off_doubles_up_to_its_bound() -> None:
    assert [backoff_s(n) for n in (1, 2, 3, 4)] == [0.5, 1, 2, 4]
    assert backoff_s(99) == BACKOFF_MAX_S
