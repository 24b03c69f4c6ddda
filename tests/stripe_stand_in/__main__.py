"""`python -m tests.stripe_stand_in`: the stand-in in the foreground, to try the `stripe` provider without an account.

Prints what to export before `tradewind up`, and stops at Ctrl-C. Its webhooks go to the platform at `--platform`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from collections.abc import Mapping

import aiohttp

from tests.stripe_stand_in import API_KEY, WEBHOOK_SECRET
from tests.stripe_stand_in.server import open_stand_in

WEBHOOK_TIMEOUT_S = 5.0


async def stand_in(platform: str) -> None:
    """Serve until SIGINT or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    timeout = aiohttp.ClientTimeout(total=WEBHOOK_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, open_stand_in() as server:

        async def deliver(headers: Mapping[str, str], body: bytes) -> None:
            # A webhook that is lost is only a question asked later.
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                url = f"{platform}/v1/payments/webhooks/stripe"
                async with session.post(url, data=body, headers=dict(headers)):
                    pass

        server.deliver = deliver
        sys.stdout.write(
            f"export PAYMENT_PROVIDER=stripe PAYMENT_STRIPE_URL={server.url}\n"
            f"export PAYMENT_STRIPE_API_KEY={API_KEY} PAYMENT_STRIPE_WEBHOOK_SECRET={WEBHOOK_SECRET}\n"
            "export PAYMENT_STRIPE_RETURN_URL=http://localhost:3000/paid\n"
        )
        sys.stdout.flush()
        await ended.wait()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m tests.stripe_stand_in", description=__doc__)
    parser.add_argument("--platform", default="http://127.0.0.1:8080", help="the public door; default: %(default)s")
    asyncio.run(stand_in(parser.parse_args().platform))


if __name__ == "__main__":
    main()
