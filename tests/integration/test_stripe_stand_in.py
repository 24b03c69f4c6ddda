"""The stand-in as one starts it by hand: it prints what a platform needs, serves, and ends at Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

from tradewind.audit.provider_stripe import StripeCharges

REPOSITORY = Path(__file__).parents[2]


async def test_it_says_how_to_reach_it_and_is_reached() -> None:
    argv = [sys.executable, "-m", "tests.stripe_stand_in", "--platform", "http://127.0.0.1:9"]
    process = await asyncio.create_subprocess_exec(*argv, cwd=REPOSITORY, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        lines = [(await asyncio.wait_for(process.stdout.readline(), 20)).decode() for _ in range(3)]
        exported = dict(word.split("=", 1) for line in lines for word in line.removeprefix("export ").split())
        assert exported["PAYMENT_PROVIDER"] == "stripe"
        assert {name.removeprefix("PAYMENT_STRIPE_") for name in exported} == {
            "PAYMENT_PROVIDER", "URL", "API_KEY", "WEBHOOK_SECRET", "RETURN_URL",
        }  # fmt: skip
        charges = StripeCharges(exported["PAYMENT_STRIPE_API_KEY"], exported["PAYMENT_STRIPE_URL"])
        assert await charges.charges() == []
    finally:
        process.send_signal(signal.SIGINT)
        assert await asyncio.wait_for(process.wait(), 20) == 0
