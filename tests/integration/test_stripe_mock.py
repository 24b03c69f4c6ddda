"""Every request of the `stripe` adapter before Stripe's own `stripe-mock`, and its answers before our reading of them."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from msgspec.structs import replace

from tests import stripe_stand_in
from tests.integration.provider_sides import new_work, refund_of
from tests.stripe_stand_in.extract import MODULE, TARGET, VERSION, extract
from tradewind.chassis.third_party import Answer, ThirdPartyClient
from tradewind.services.payment.providers import RequestRefused
from tradewind.services.payment.providers.stripe import StripeProvider
from tradewind.services.payment.providers.stripe_calls import StripeCalls

BUILD_TIMEOUT_S = 600.0
START_TIMEOUT_S = 15.0
TIMEOUT_S = 10.0
_LISTENING = re.compile(r"Listening for HTTP at address: (\S+:\d+)")


class Heard(ThirdPartyClient):
    """Remembers what was answered."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url, "stripe")
        self.heard: list[tuple[str, int]] = []

    async def call(self, method: str, path: str, **more: object) -> Answer:
        answer = await super().call(method, path, **more)  # type: ignore[arg-type]
        self.heard.append((f"{method} {path.partition('?')[0]}", answer.status))
        return answer


def _built(folder: Path) -> Path:
    """The program, in the version whose description the stand-in has. In CI one that cannot be had is a failure."""
    go = shutil.which("go")
    if go is None:
        if os.environ.get("CI"):
            pytest.fail(f"there is no Go here to build {MODULE} with")
        pytest.skip("not run: no Go on this machine (Debian: golang)")
    environ = os.environ | {"GOBIN": str(folder)}
    built = subprocess.run(
        [go, "install", f"{MODULE}@{VERSION}"],
        env=environ,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=BUILD_TIMEOUT_S,
    )
    if built.returncode != 0:
        if os.environ.get("CI"):
            pytest.fail(built.stderr[-2000:])
        pytest.skip(f"not run: {MODULE} cannot be fetched here")
    return folder / "stripe-mock"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _built(tmp_path_factory.mktemp("stripe-mock"))


@pytest_asyncio.fixture
async def client(program: Path) -> AsyncIterator[Heard]:
    process = await asyncio.create_subprocess_exec(
        str(program), "-http-addr", "127.0.0.1:0", "-strict-version-check", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            while not (found := _LISTENING.search((await process.stdout.readline()).decode())):
                assert process.returncode is None
        client = Heard(f"http://{found.group(1)}")
        yield client
        await client.close()
    finally:
        process.kill()
        await process.wait()


def provider_on(client: Heard) -> StripeProvider:
    return StripeProvider(
        client,
        client._base,
        api_key=stripe_stand_in.API_KEY,
        webhook_secrets=[],
        return_url="https://shop.example.test/back",
        timeout_s=TIMEOUT_S,
    )


@pytest.mark.timeout(700)
async def test_stripes_own_mock_takes_every_request_and_we_can_read_its_answers(client: Heard) -> None:
    provider = provider_on(client)
    work = new_work()
    charge = await provider.charge(work)
    assert charge.amount == work.payment.amount
    held = await provider.charge(new_work(capture=False))
    await provider.find_charge(replace(work, attempt=replace(work.attempt, charge_id=charge.id)))
    await provider.void(charge.id)
    await provider.capture(held, work.attempt.id)
    back = refund_of(work, charge, 500)
    repaid = await provider.refund(back)
    assert repaid.amount.amount_minor == 500  # the currency is its example's
    await provider.find_refund(back)
    await provider.holdings()
    # What the adapter only does in answers that this mock does not give.
    calls = StripeCalls(client, client._base, api_key=stripe_stand_in.API_KEY, timeout_s=TIMEOUT_S)
    await calls.confirm(charge.id, "https://shop.example.test/back")
    await calls.search(work.attempt.id)
    await provider._burn(new_work())
    asked = {re.sub(r"pi_\w+", "{intent}", what) for what, _ in client.heard}
    assert asked == {
        "GET /v1/payment_intents",
        "GET /v1/payment_intents/search",
        "GET /v1/payment_intents/{intent}",
        "GET /v1/refunds",
        "POST /v1/payment_intents",
        "POST /v1/payment_intents/{intent}/cancel",
        "POST /v1/payment_intents/{intent}/capture",
        "POST /v1/payment_intents/{intent}/confirm",
        "POST /v1/refunds",
    }
    assert {status for _, status in client.heard} == {200}


async def test_it_refuses_what_stripe_does_not_know(client: Heard) -> None:
    calls = StripeCalls(client, client._base, api_key=stripe_stand_in.API_KEY, timeout_s=TIMEOUT_S)
    with pytest.raises(RequestRefused):
        await calls.create({"amount": 1, "currency": "eur", "colour": "red"}, "key")
    async with aiohttp.ClientSession() as session:
        headers = {"authorization": f"Bearer {stripe_stand_in.API_KEY}", "stripe-version": "2020-08-27"}
        async with session.get(f"{client._base}/v1/payment_intents", headers=headers) as answer:
            assert answer.status == 400


def test_the_description_of_the_stand_in_is_what_stripe_published(program: Path) -> None:
    assert program.exists()
    assert TARGET.read_text(encoding="utf-8") == extract()
