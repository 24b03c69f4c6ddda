"""Hashing passwords beside the event loop. The parameters here are small; the product's are checked by name."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tradewind.chassis.errors import Unavailable
from tradewind.services.auth.passwords import Passwords


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(threads=1, max_waiting=2, memory_kib=64, passes=1)
    yield made
    made.close()


async def test_the_product_hashes_as_owasp_says() -> None:
    product = Passwords()
    assert (await product.hash("x")).startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    product.close()


async def test_a_password_fits_its_own_hash_only(passwords: Passwords) -> None:
    hash_ = await passwords.hash("correct horse")
    assert hash_ != await passwords.hash("correct horse")
    assert await passwords.verify("correct horse", hash_)
    assert not await passwords.verify("correct horse ", hash_)


async def test_nobody_has_the_password_of_nobody(passwords: Passwords) -> None:
    assert not await passwords.verify("correct horse", None)


async def test_two_spellings_of_one_letter_are_one_password(passwords: Passwords) -> None:
    assert await passwords.verify("cafe\u0301 au lait", await passwords.hash("café au lait"))


async def test_a_hash_of_other_parameters_is_dated(passwords: Passwords) -> None:
    other = Passwords(memory_kib=128, passes=1)
    hash_ = await other.hash("correct horse")
    assert passwords.is_dated(hash_)
    assert not other.is_dated(hash_)
    assert await passwords.verify("correct horse", hash_)
    other.close()


async def test_the_queue_is_bounded_and_empties(passwords: Passwords) -> None:
    results = await asyncio.gather(*(passwords.hash("x") for _ in range(20)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert len(results) - len(refused) == 3
    assert {(type(problem), getattr(problem, "code", "")) for problem in refused} == {(Unavailable, "overloaded")}
    assert await passwords.hash("x")


async def test_callers_that_give_up_do_not_take_their_places_with_them(passwords: Passwords) -> None:
    for _ in range(5):
        tasks = [asyncio.create_task(passwords.hash("x")) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        async with asyncio.timeout(2):
            while passwords._inside:
                await asyncio.sleep(0.001)
    assert await passwords.hash("x")
