"""The safeguards that the promises rest on, and how each is taken out of a copy of the source.

A safeguard counts when removing it turns a test red: `python -m tests.mutation` shows that for every one. Product code has
no switch for any of this; `text` must stand exactly once in its file, so that a change of the code is noticed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

SRC = "src/tradewind"


@dataclass(frozen=True, kw_only=True)
class Edit:
    """In `file`, below `src/tradewind`, `text` becomes `becomes`."""

    file: str
    text: str
    becomes: str

    def apply(self, root: Path) -> None:
        """Change the copy below `root`.

        Raises:
            LookupError: the text is not there, or more than once: the code has changed, and this table must follow.
        """
        path = root / SRC / self.file
        source = path.read_text(encoding="utf-8")
        if (found := source.count(self.text)) != 1:
            raise LookupError(f"{self.file} has this {found} times, not once: {self.text!r}")
        path.write_text(source.replace(self.text, self.becomes), encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Safeguard:
    """One safeguard. `promise` is what would break without it, `tests` where that has to be noticed."""

    name: str
    promise: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def _one(name: str, promise: str, file: str, text: str, becomes: str, *tests: str) -> Safeguard:
    return Safeguard(name=name, promise=promise, edits=(Edit(file=file, text=text, becomes=becomes),), tests=tests)


_I = "tests/integration"
_K = f"{_I}/test_messaging_bus_kafka.py"
_T = f"{_I}/test_messaging_transport.py"

SAFEGUARDS: tuple[Safeguard, ...] = (
    # events
    _one(
        "inbox-insert",
        "an event that is delivered twice takes effect once",
        "chassis/consumer/loop.py",
        "unseen, held = await self._inbox.claim(tx, messages)",
        "unseen, held = {message.id for message in messages}, set()",
        f"{_I}/test_messaging_consumer.py",
    ),
    _one(
        "await-of-the-acknowledgement",
        "an event leaves the outbox only when the bus has it",
        "chassis/relay.py",
        "await self._transport.publish([_message(row) for row in rows])",
        "asyncio.ensure_future(self._transport.publish([_message(row) for row in rows]))",
        f"{_I}/test_messaging_relay.py",
    ),
    _one(
        "outbox-order",
        "events of one aggregate are published in the order of their commits",
        "chassis/relay.py",
        "AND id <> ALL($4::bigint[]) ORDER BY id LIMIT $2",
        "AND id <> ALL($4::bigint[]) ORDER BY id DESC LIMIT $2",
        f"{_I}/test_messaging_relay.py",
    ),
    _one(
        "one-publisher-a-shard",
        "no two relays publish the same aggregate side by side",
        "chassis/shares.py",
        "due |= fair_share(class_, units, members[class_], self._me)",
        "due |= {Unit(class_, number) for number in range(units)}",
        "tests/unit/test_messaging_shares.py",
        f"{_I}/test_messaging_relay.py",
        f"{_I}/test_messaging_transport.py",
    ),
    _one(
        "dead-letter",
        "what cannot be handled is kept, not dropped",
        "chassis/consumer/loop.py",
        "if (await self._inbox.claim(tx, [message])).new:",
        "if False:",
        f"{_I}/test_messaging_consumer.py",
    ),
    _one(
        "order-behind-a-dead-letter",
        "no event of an aggregate is taken before an earlier one that is a dead letter",
        "chassis/consumer/loop.py",
        "if message.id in held:",
        "if False:",
        f"{_I}/test_messaging_dead_letters.py",
    ),
    _one(
        "second-look-for-burials",
        "nor where two consumers were handed the same events",
        "chassis/inbox.py",
        "if len(new) < len(ids):",
        "if False:",
        f"{_I}/test_messaging_dead_letters.py",
    ),
    _one(
        "replay-in-order",
        "what waits behind a dead letter follows it, and in order",
        "chassis/consumer/graveyard.py",
        "(retry_at IS NULL OR retry_at <= now()) AND {NO_EARLIER}",
        "(retry_at IS NULL OR retry_at <= now())",
        f"{_I}/test_messaging_dead_letters.py",
    ),
    _one(
        "letters-with-long-keys",
        "no message is so strange that it stops its consumer",
        "chassis/deadletters.py",
        "if len(key) > MAX_KEY_CHARS:",
        "if False:",
        f"{_I}/test_messaging_dead_letters.py",
    ),
    _one(
        "replay-takes-turns",
        "other keys keep flowing while thousands of letters are handled again",
        "chassis/consumer/loop.py",
        "while time.monotonic() < until_s:",
        "while True:",
        f"{_I}/test_messaging_dead_letters.py",
    ),
    _one(
        "failures-counted-beyond-a-kill",
        "tries are bounded, however often the consumer is killed between them",
        "chassis/consumer/loop.py",
        "now_s=time.monotonic(), tally=tally)",
        "now_s=time.monotonic(), tally=None)",
        f"{_I}/test_messaging_dead_letters.py",
    ),
    _one(
        "unknown-version",
        "an event of a version that a consumer does not know is never passed over",
        "chassis/events.py",
        "if match is None or match.group(1) not in self._newest:",
        "if True:",
        "tests/unit/test_messaging_events.py",
    ),
    _one(
        "key-of-an-event",
        "an event travels under the id of the aggregate it is about",
        "chassis/outbox.py",
        "if event.KEY and getattr(event, event.KEY) != key:",
        "if False:",
        "tests/unit/test_messaging_events.py",
    ),
    _one(
        "published-contracts",
        "what was published of an event is never broken",
        "published/changes.py",
        "found += [Breach(type_, where, what) for where, what in _document(published, now)]",
        "found += []",
        "tests/unit/test_published_changes.py",
    ),
    # events on Kafka
    _one(
        "kafka-await-delivery",
        "a row leaves the outbox only when all in-sync replicas have the event",
        "chassis/transport/kafka/producing.py",
        "                await waiting.done\n",
        "",
        f"{_K}::test_a_publication_that_is_given_up_is_not_sent_later_by_itself",
    ),
    _one(
        "kafka-whole-or-given-up",
        "what was given up is not sent later by itself, out of order",
        "chassis/transport/kafka/producing.py",
        "            self._throw_away(running)\n",
        "",
        f"{_K}::test_a_publication_that_is_given_up_is_not_sent_later_by_itself",
    ),
    _one(
        "kafka-partitioner",
        "a key lies in the same partition whoever writes it",
        "chassis/transport/kafka/producing.py",
        '"partitioner": "consistent"',
        '"partitioner": "murmur2"',
        f"{_T}::test_messages_arrive_as_they_were_sent_in_the_order_of_their_keys[kafka]",
    ),
    _one(
        "kafka-partitions",
        "a topic gets the partitions that it is to have",
        "chassis/transport/kafka/cluster.py",
        "                self._new_partitions,\n",
        "                1,\n",
        f"{_K}::test_a_topic_is_made_with_our_partitions_and_retention",
    ),
    _one(
        "kafka-position-forward-only",
        "a position never goes back",
        "chassis/transport/kafka/holdings.py",
        "if offset > self._done.get(place, offset)}",
        "if place in self._waiting}",
        f"{_T}::test_a_group_goes_on_where_it_committed_and_never_back[kafka]",
    ),
    _one(
        "kafka-drain",
        "a partition is finished and committed before somebody else gets it",
        "chassis/transport/kafka/member.py",
        "while self._held.unfinished(places) and not self._stopping.is_set():",
        "while False:",
        f"{_T}::test_what_a_member_has_taken_it_finishes_before_another_gets_the_partition[kafka]",
    ),
    _one(
        "kafka-commit-while-sharing",
        "a member keeps what it has done while the group is shared anew",
        "chassis/transport/kafka/member.py",
        "if exc.args[0].code() in _SHARING:",
        "if False:",
        f"{_T}::test_everything_is_delivered_while_members_come_and_go[kafka]",
        f"{_T}::test_two_members_share_and_no_partition_is_anybodys_twice[kafka]",
    ),
    _one(
        "kafka-lost-is-said",
        "a member that held on too long forgets what is somebody else's",
        "chassis/transport/kafka/member.py",
        "self._lose(places, lost=self._held.unfinished(places))",
        "self._lose(places, lost=set())",
        f"{_T}::test_a_member_that_holds_on_too_long_is_told_what_it_lost[kafka]",
    ),
    _one(
        "kafka-zombie-forgets",
        "a member that was taken for dead forgets what it held",
        "chassis/transport/kafka/member.py",
        "        self._lose(places, lost=places)\n",
        "",
        f"{_K}::test_a_zombie_moves_no_position",
    ),
    _one(
        "kafka-made-up-id",
        "a stranger's message has the same id each time it is delivered",
        "chassis/transport/kafka/wire.py",
        'uuid.uuid5(_MADE_UP, f"{raw.topic()}/{partition}/{offset}")',
        "uuid.uuid4()",
        f"{_K}::test_what_a_stranger_writes_has_an_id_that_stays",
    ),
    _one(
        "kafka-cancelled-fetch",
        "what a cancelled fetch had brought is not lost",
        "chassis/transport/kafka/subscription.py",
        "            if asked.done() and (asked.cancelled() or asked.exception() is not None):\n                self._unclaimed = None\n",
        "            self._unclaimed = None\n",
        "tests/unit/test_messaging_kafka.py",
    ),
    _one(
        "kafka-jars",
        "only the locked jars are run",
        "stack/kafka/jars.py",
        "    if wrong:\n",
        "    if False:\n",
        f"{_I}/test_stack_kafka.py::test_jars_that_are_not_the_locked_ones_are_refused",
    ),
    # orders
    _one(
        "order-lock",
        "two changes of one order happen one after the other",
        "services/order/store/orders.py",
        "WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE",
        "WHERE id = ANY($1::uuid[]) ORDER BY id",
        f"{_I}/test_order_moving.py",
    ),
    Safeguard(
        name="unique-idempotency-key",
        promise="a POST with the same key happens once, however many arrive together",
        edits=(
            Edit(
                file="chassis/migrations/versions/0001_idempotency.py",
                text="PRIMARY KEY (subject, key)",
                becomes="CHECK (key <> '')",
            ),
            Edit(
                file="chassis/idempotency.py",
                text="""VALUES ($1, $2, $3)"
            " ON CONFLICT (subject, key) DO NOTHING RETURNING true",""",
                becomes="""VALUES ($1, $2, $3) RETURNING true",""",
            ),
        ),
        tests=(f"{_I}/test_chassis_idempotency.py",),
    ),
    _one(
        "fingerprint-of-the-request",
        "a key is for one body only",
        "chassis/idempotency.py",
        'if row["fingerprint"] != print_:',
        "if False:",
        f"{_I}/test_chassis_idempotency.py",
    ),
    _one(
        "stock-never-below-zero",
        "nothing is sold twice",
        "services/order/store/stock.py",
        "WHERE stock.sku = locked.sku AND stock.available + shift.available >= 0",
        "WHERE stock.sku = locked.sku",
        f"{_I}/test_order_placing.py",
    ),
    _one(
        "expiry",
        "an order that nobody pays gives its stock back",
        "services/order/store/orders.py",
        "WHERE look_at <= now()\n    ORDER BY look_at",
        "WHERE false\n    ORDER BY look_at",
        f"{_I}/test_order_moving.py",
    ),
    _one(
        "settlement-asks-again",
        "the money of a cancelled order is asked for until it is back",
        "services/order/domain/saga.py",
        'Move(says="overdue", asks=True)',
        'Move(says="overdue")',
        "tests/unit/test_order_deadlines.py",
    ),
    _one(
        "one-clock",
        "an instance with a wrong clock writes no wrong time and moves no deadline",
        "services/order/usecases/moving.py",
        "now, orders = locked.now, dict(locked.orders)",
        "now, orders = parts.clock.now(), dict(locked.orders)",
        f"{_I}/test_order_overdue.py",
    ),
    # payments
    _one(
        "second-look",
        "one wrong answer of the provider undoes nothing; what stands in its books does",
        "services/payment/usecases/pursuit.py",
        "if isinstance(verdict, Wrong) and not verdict.undone and not doubted:",
        "if verdict is None:",
        f"{_I}/test_payment_nastiness.py",
    ),
    _one(
        "refund-rounds",
        "a refund that we owe is asked for anew when the provider failed it",
        "services/payment/providers/sandbox.py",
        "self._refunds(work.charge_id, work.refund.key)",
        "self._refunds(work.charge_id, work.refund.id)",
        f"{_I}/test_payment_nastiness.py",
    ),
    _one(
        "undo-rounds",
        "money of a wrong charge goes back, also when the provider failed to give it back before",
        "services/payment/providers/__init__.py",
        'return f"undo:{charge_id}:{left_minor}" + (f":{failed}" if failed else "")',
        'return f"undo:{charge_id}:{left_minor}"',
        f"{_I}/test_payment_nastiness.py",
    ),
    _one(
        "payment-lock",
        "two decisions about one payment happen one after the other",
        "services/payment/store/changes.py",
        "WHERE p.id = ANY($1::uuid[]) ORDER BY p.id FOR UPDATE",
        "WHERE p.id = ANY($1::uuid[]) ORDER BY p.id",
        f"{_I}/test_payment_refunds.py",
    ),
    _one(
        "key-of-the-charge",
        "asking the provider again cannot charge again",
        "services/payment/providers/sandbox.py",
        'return await self._charge("POST", "/v1/charges", body, key=work.attempt.id)',
        'return await self._charge("POST", "/v1/charges", body, key=__import__("uuid").uuid4().hex)',
        f"{_I}/test_payment_methods.py",
        f"{_I}/test_payment_kill.py",
    ),
    _one(
        "reconciliation",
        "an unknown outcome is asked for until it is known",
        "services/payment/usecases/reconciliation.py",
        "while await _take_up_some(parts):",
        "while False:",
        f"{_I}/test_payment_reconciliation.py",
    ),
    _one(
        "amount-of-the-answer",
        "a charge of another amount or order is not taken for ours",
        "services/payment/domain/charge.py",
        "if charge.amount != aim.amount or charge.reference != aim.reference:\n        return True",
        "if charge.amount != aim.amount or charge.reference != aim.reference:\n        return False",
        "tests/unit/test_payment_findings.py",
        f"{_I}/test_payment_reconciliation.py",
    ),
    _one(
        "late-success",
        "money that comes after the cancellation goes back by itself",
        "services/payment/domain/settlement.py",
        "if not payment.order_cancelled or payment.refundable_minor == 0:",
        "if True:",
        f"{_I}/test_payment_cancelling.py",
    ),
    _one(
        "webhook-signature",
        "nobody but the provider tells us what it did",
        "services/payment/providers/sandbox.py",
        "check_signature(self._webhook_secret, headers.get(SIGNATURE_HEADER), body, now)",
        "pass",
        f"{_I}/test_payment_webhooks.py",
    ),
    _one(
        "late-landing",
        "a charge that landed when nobody looked any more is undone",
        "services/payment/usecases/comparison.py",
        "    if unheard:",
        "    if False:",
        f"{_I}/test_payment_comparison.py",
    ),
    _one(
        "one-charge-an-order",
        "a second charge for one attempt goes back by itself",
        "services/payment/store/comparison.py",
        "WHEN a.charge_id <> theirs.charge_id OR a.status = 'failed' THEN CASE",
        "WHEN a.status = 'failed' THEN CASE",
        f"{_I}/test_payment_comparison.py",
    ),
    _one(
        "unwanted-written-down-first",
        "money that nobody wanted is in the books before it is undone, and looked for until it is",
        "services/payment/usecases/unwanted.py",
        "        await store.note(parts.database, unwanted)\n",
        "",
        f"{_I}/test_payment_comparison.py",
    ),
    _one(
        "heard-while-asking",
        "what the provider says while we ask it outlives the answer",
        "services/payment/store/changes.py",
        "CASE WHEN a.heard AND c.attempt_status = 'requires_action' THEN 0 END",
        "NULL",
        f"{_I}/test_payment_webhooks.py",
    ),
    _one(
        "heard-while-recording",
        "a webhook about a payment that is being written down is not lost",
        "services/payment/store/notices.py",
        "    if skipped:",
        "    if False:",
        f"{_I}/test_payment_webhooks.py",
    ),
    _one(
        "unheard-is-not-unknown",
        "a refund that comes before its order is heard of is not refused for good",
        "services/payment/usecases/customers.py",
        'if not _may_be_on_its_way(order_id or payment_id or "", parts.clock.now()):',
        "if True:",
        f"{_I}/test_payment_refunds.py",
    ),
    _one(
        "ledger-booked-once",
        "a cause is booked once",
        "services/payment/migrations/versions/0001_payment.py",
        "UNIQUE (cause_id, cause),",
        "",
        f"{_I}/test_payment_ledger.py",
    ),
    _one(
        "ledger-rules",
        "money moves only between the accounts that its cause allows",
        "services/payment/migrations/versions/0001_payment.py",
        "CONSTRAINT ledger_rules CHECK ((cause, debit_account, credit_account) IN (",
        "CONSTRAINT ledger_rules CHECK (true OR (cause, debit_account, credit_account) IN (",
        f"{_I}/test_payment_ledger.py",
    ),
    _one(
        "ledger-append-only",
        "what is booked stays booked",
        "services/payment/migrations/versions/0001_payment.py",
        "REVOKE UPDATE, DELETE, TRUNCATE ON ledger_transaction FROM {RUNTIME_ROLE};",
        "",
        f"{_I}/test_payment_ledger.py",
    ),
    _one(
        "hold-before-capture",
        "what is held is written down before it is captured, so that a cancellation can come between",
        "services/payment/domain/charge.py",
        "return Step.CAPTURE if aim.step is Step.CAPTURE else Authorized(charge)",
        "return Step.CAPTURE",
        "tests/unit/test_payment_findings.py",
        f"{_I}/test_payment_authorising.py",
    ),
    _one(
        "void-for-cancelled",
        "money that is held for a cancelled order is let go of",
        "services/payment/domain/charge.py",
        "return Step.VOID if unwanted else _judge_hold(aim, charge)",
        "return _judge_hold(aim, charge)",
        f"{_I}/test_payment_authorising.py",
    ),
    Safeguard(
        name="the-same-provider",
        promise="what was begun at one provider is never asked of another",
        edits=(
            Edit(
                file="services/payment/store/queue.py",
                text="WHERE due_at <= now() AND provider = $4 ORDER BY due_at",
                becomes="WHERE due_at <= now() AND $4::text <> '' ORDER BY due_at",
            ),
            Edit(
                file="services/payment/usecases/pursuit.py",
                text="if _provider(work) != parts.provider.name:",
                becomes="if False:",
            ),
        ),
        tests=(f"{_I}/test_payment_authorising.py",),
    ),
    _one(
        "seal-waits",
        "no row falls into a block that is sealed already",
        "services/payment/usecases/sealing.py",
        "while unsealed.writers and await",
        "while False and await",
        f"{_I}/test_payment_seals.py",
    ),
    _one(
        "one-sealer",
        "two instances do not seal the same rows",
        "services/payment/store/seals.py",
        'bool(await tx.value("SELECT pg_try_advisory_xact_lock($1)", _SEALER))',
        "bool(_SEALER)",
        f"{_I}/test_payment_seals.py",
    ),
    _one(
        "seals-append-only",
        "a seal stays as it was written",
        "services/payment/migrations/versions/0003_ledger_seals.py",
        "REVOKE UPDATE, DELETE, TRUNCATE ON ledger_seal FROM {RUNTIME_ROLE};",
        "",
        f"{_I}/test_payment_seals.py",
    ),
    _one(
        "chain-of-seals",
        "a seal that was replaced shows",
        "audit/checks/ledger.py",
        'if row["previous_hash"] != row["due_previous_hash"]:',
        "if False:",
        f"{_I}/test_payment_seals.py",
    ),
    _one(
        "refunded-at-most-captured",
        "no more goes back than came in",
        "services/payment/migrations/versions/0001_payment.py",
        "CHECK (refunded_minor >= 0 AND refunding_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor)",
        "CHECK (refunded_minor >= 0)",
        f"{_I}/test_payment_ledger.py",
    ),
    # Stripe
    _one(
        "stripe-idempotency-key",
        "the same attempt is charged once at Stripe",
        "services/payment/providers/stripe_calls.py",
        'options: Any = {"idempotency_key": key}\n        try:',
        "options: Any = {}\n        try:",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-replay-is-old-news",
        "Stripe's kept answer is not taken for where the charge stands now",
        "services/payment/providers/stripe.py",
        "        if replayed:\n",
        "        if False:\n",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-key-used-up",
        "a request that is late charges nothing for an order that was cancelled",
        "services/payment/providers/stripe.py",
        "return await self._burn(work) if _unwanted(work) else await self.charge(work)",
        "return None if _unwanted(work) else await self.charge(work)",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-key-life",
        "what Stripe may have forgotten is not sent again",
        "services/payment/providers/stripe.py",
        '            raise RequestRefused("attempt_expired")',
        "            pass",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-search-proves-nothing",
        "no hit in an index that runs behind is not taken for no charge",
        "services/payment/providers/stripe.py",
        "            if work.fresh or (found := await self._calls.search(work.attempt.id)) is None:\n                raise",
        '            if work.fresh or (found := await self._calls.search(work.attempt.id)) is None:\n                raise RequestRefused("not_found") from None',
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-key-used-is-unknown",
        "a key that was used for something else says nothing about the charge",
        "services/payment/providers/stripe_errors.py",
        "case stripe.IdempotencyError():\n            return KeyUsed(",
        'case stripe.IdempotencyError():\n            return RequestRefused(code or "used") if code is None else KeyUsed(',
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-no-blind-retries",
        "nothing is sent again that nobody asked to send again",
        "services/payment/providers/stripe_calls.py",
        "max_network_retries=0",
        "max_network_retries=2",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-failed-challenge-is-closed",
        "nobody pays later for a challenge that failed",
        "services/payment/providers/stripe.py",
        "            closed = await self._calls.cancel(intent.id)",
        "            closed = intent",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-wrong-key-is-no-decline",
        "a wrong API key declines no payment",
        "services/payment/providers/stripe_errors.py",
        "case stripe.AuthenticationError() | stripe.PermissionError():",
        "case stripe.PermissionError():",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-refund-key",
        "a refund is found by its own key, and a new round is a new refund",
        "services/payment/providers/stripe.py",
        "if (refund.metadata or {}).get(REFUND_KEY) == work.refund.key:",
        "if (refund.metadata or {}).get(REFUND) == work.refund.id:",
        f"{_I}/test_stripe_outcomes.py",
    ),
    _one(
        "stripe-amounts",
        "an amount that Stripe cannot say is refused, not rounded",
        "services/payment/providers/stripe_amounts.py",
        '    if amount % by:\n        raise NotExpressible("amount_not_expressible")\n',
        "",
        "tests/unit/test_payment_stripe.py",
    ),
    _one(
        "stripe-webhook-signature",
        "a forged webhook is refused",
        "services/payment/providers/stripe.py",
        "                stripe.WebhookSignature.verify_header(body, header, secret)\n",
        "",
        "tests/unit/test_payment_stripe.py",
    ),
    _one(
        "stripe-webhook-age",
        "a recorded webhook goes stale",
        "services/payment/providers/stripe.py",
        "        check_age(header, now)\n",
        "",
        "tests/unit/test_payment_stripe.py",
    ),
    _one(
        "webhook-one-time",
        "a recorded webhook does not become fresh by a second time beside the signed one",
        "services/payment/providers/signature.py",
        "if sent_at is not None or not (",
        "if not (",
        "tests/unit/test_payment_stripe.py",
    ),
    _one(
        "stripe-live-key-in-dev",
        "a laptop moves no real money",
        "services/payment/settings.py",
        '        if live and self.environment == "dev":',
        "        if False:",
        "tests/unit/test_payment_settings.py",
    ),
    _one(
        "stripe-test-key-in-production",
        "no order is paid with play money in production",
        "services/payment/settings.py",
        '            if key.startswith(("sk_test_", "rk_test_")):',
        "            if False:",
        "tests/unit/test_payment_settings.py",
    ),
    # health and deadlines
    _one(
        "degraded-is-ready",
        "a neighbour that a service can do without takes no instance out of rotation",
        "chassis/health.py",
        "for word in (*state.values(), *needs.values()))",
        "for word in (*state.values(), *needs.values(), *wishes.values()))",
        "tests/unit/test_chassis_health.py",
    ),
    _one(
        "deadline-before-the-handler",
        "a request that nobody waits for any more does not reach its handler",
        "chassis/http/app.py",
        "                require_time()\n",
        "",
        "tests/unit/test_http.py",
    ),
    _one(
        "deadline-after-the-pool",
        "a request that waited too long for a connection sends no statement",
        "chassis/postgres.py",
        "        require_time()\n        yield connection\n",
        "        yield connection\n",
        f"{_I}/test_chassis_postgres.py",
    ),
    _one(
        "smtp-left-alone",
        "a mail counts no try that was not made",
        "services/notification/usecases.py",
        "    parts.mailer.require()\n",
        "",
        f"{_I}/test_notification.py",
    ),
    # secrets
    _one(
        "secrets-header",
        "the header of the secrets file cannot be changed unnoticed",
        "chassis/secrets/encrypted.py",
        "plain = AESGCM(key.raw).decrypt(bytes.fromhex(header.nonce), body, head)",
        'plain = AESGCM(key.raw).decrypt(bytes.fromhex(header.nonce), body, MAGIC + msgspec.json.encode(header) + b"\\n")',
        f"{_I}/test_secret_stores.py",
    ),
    _one(
        "secrets-take-over",
        "what an older version kept in the clear goes only once it is kept encrypted",
        "stack/kept_secrets.py",
        "        self._file.put_all({name: Secret(value) for name, value in values.items()}, missing_only=True)\n"
        "        self._plain.unlink(missing_ok=True)\n",
        "        self._plain.unlink(missing_ok=True)\n"
        "        self._file.put_all({name: Secret(value) for name, value in values.items()}, missing_only=True)\n",
        f"{_I}/test_secret_stores.py",
    ),
    _one(
        "secrets-not-by-argument",
        "a secret given on the command line is refused and not repeated",
        "cli/secrets.py",
        "    if more:\n",
        "    if False:\n",
        f"{_I}/test_secrets_command.py",
    ),
    _one(
        "rotation-overlap",
        "tokens that were signed before a rotation are good until they end",
        "chassis/signing.py",
        "if key.kid == active or key.retires_at is None or key.retires_at > now_s",
        "if key.kid == active",
        "tests/unit/test_chassis_identity.py",
    ),
    _one(
        "no-card-numbers",
        "a card's number is not stored, nor sent on in an event",
        "services/order/api/bodies.py",
        "(?!([0-9][._:-]*){12,19}$)",
        "",
        "tests/unit/test_order_bodies.py",
    ),
    _one(
        "config-compare-and-set",
        "of two who change the live settings at once one wins and the other is told",
        "mesh/live_stores/local.py",
        "                if document.version != latest.version + 1:\n",
        "                if False:\n",
        f"{_I}/test_live_stores.py",
    ),
    _one(
        "config-consul-check-and-set",
        "the same with Consul, where two may have read the same state",
        "mesh/live_stores/consul.py",
        "expected=state)",
        "expected=None)",
        f"{_I}/test_live_stores.py",
    ),
    _one(
        "config-whole-or-not-at-all",
        "a live document of which one value does not fit changes nothing",
        "chassis/live.py",
        "        if faults:\n            raise SettingsError(faults)\n",
        "",
        "tests/unit/test_live_settings.py",
    ),
    _one(
        "config-start-values-stay",
        "what is read at the start is never changed by the live store",
        "chassis/live.py",
        'if text == "" or not row.live:',
        'if text == "":',
        "tests/unit/test_live_settings.py",
    ),
)
