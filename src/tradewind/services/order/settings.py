"""What order-service needs from its environment."""

from __future__ import annotations

from typing import Annotated

from tradewind.chassis.settings import Count, DatabaseServiceSettings, Seconds, Setting


class OrderSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Variables of order-service, prefix `ORDER_`."""

    PREFIX = "ORDER_"

    pending_ttl_s: Annotated[
        Seconds, Setting("How long an unpaid order holds its stock before it expires.", live=True)
    ] = 900.0
    shipping_ttl_s: Annotated[
        Seconds, Setting("How long a confirmed order waits to be shipped before support is told.", live=True)
    ] = 259_200.0
    delivery_ttl_s: Annotated[
        Seconds, Setting("How long a shipped order waits for its delivery before support is told.", live=True)
    ] = 1_209_600.0
    settlement_ttl_s: Annotated[
        Seconds,
        Setting("How long a cancelled order's money may take before payment-service is asked again.", live=True),
    ] = 600.0
    expiry_every_s: Annotated[Seconds, Setting("Pause between two looks for orders past their deadline.")] = 5.0
    expiry_batch: Annotated[
        Count, Setting("Most orders that one transaction takes past their deadline.", live=True)
    ] = 100
    product_ttl_s: Annotated[Seconds, Setting("Longest time a product stays in the cache.", live=True)] = 10.0
    streams_max: Annotated[Count, Setting("Most orders that are followed at the same time on one instance.")] = 500
    stream_look_every_s: Annotated[Seconds, Setting("Pause between two looks for news of followed orders.")] = 0.25
    stream_ttl_s: Annotated[
        Seconds, Setting("Longest time one stream lasts; its client connects again.", live=True)
    ] = 600.0
