"""`tradewind demo`."""

from __future__ import annotations

import asyncio

import click


@click.command()
@click.option("--url", default="", help="The public door; default: of the platform that runs here.")
@click.option(
    "--admin-token", default="", help="An administrator's access token; default: made with the local signing key."
)
def demo(url: str, admin_token: str) -> None:
    """Seed a catalogue and drive customers through the public API: register, order, pay, decline, refund."""
    from tradewind.cli.platform_access import public_url, signing_keys_file
    from tradewind.stack.errors import StackError
    from tradewind.traffic.client import Refused, open_shop
    from tradewind.traffic.operator import operator_token
    from tradewind.traffic.story import tell

    async def play() -> None:
        async with open_shop(url or public_url()) as shop:
            await tell(shop, admin_token or operator_token(signing_keys_file()), click.echo)

    try:
        asyncio.run(play())
    except (Refused, OSError) as error:
        raise StackError(f"the story stopped: {error}", "tradewind ps, tradewind logs --level warn") from error
