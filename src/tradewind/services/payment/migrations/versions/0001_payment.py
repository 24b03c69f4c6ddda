"""Payments, their attempts and refunds, the ledger, and what the provider told us by itself."""

from alembic import op

revision = "payment_0001"
down_revision = None
branch_labels = None
depends_on = None

RUNTIME_ROLE = "payment_service"


def upgrade() -> None:
    _payments()
    _ledger()
    _provider()
    _close_ledger()


def _payments() -> None:
    # One payment an order, and never more back than came in: promises of the platform, so the database keeps them.
    op.execute("""
        CREATE TABLE payment (
            id                 uuid        PRIMARY KEY,
            order_id           uuid        NOT NULL UNIQUE,
            customer_id        uuid        NOT NULL,
            amount_minor       bigint      NOT NULL CHECK (amount_minor > 0),
            currency           text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            payment_method     text        NOT NULL,
            status             text        NOT NULL DEFAULT 'processing' CHECK (status IN (
                'processing', 'requires_action', 'authorized', 'captured', 'partially_refunded', 'refunded', 'failed', 'cancelled')),
            code               text,
            action_url         text,
            captured_minor     bigint      NOT NULL DEFAULT 0,
            refunding_minor    bigint      NOT NULL DEFAULT 0,
            refunded_minor     bigint      NOT NULL DEFAULT 0,
            order_cancelled    boolean     NOT NULL DEFAULT false,
            version            bigint      NOT NULL DEFAULT 0,
            revision           bigint      NOT NULL DEFAULT 0,
            created_at         timestamptz NOT NULL DEFAULT now(),
            updated_at         timestamptz NOT NULL DEFAULT now(),
            CHECK (captured_minor BETWEEN 0 AND amount_minor),
            CHECK (refunded_minor >= 0 AND refunding_minor >= 0 AND refunded_minor + refunding_minor <= captured_minor)
        ) WITH (fillfactor = 70)
    """)
    op.execute("CREATE INDEX payment_customer ON payment (customer_id, id)")

    # `due_at` is queue and lease in one: when the row is to be taken up, and while somebody has it (`holder`), when others may.
    op.execute("""
        CREATE TABLE attempt (
            id          uuid        PRIMARY KEY,
            payment_id  uuid        NOT NULL REFERENCES payment,
            provider    text        NOT NULL,
            status      text        NOT NULL DEFAULT 'processing' CHECK (status IN (
                'processing', 'requires_action', 'succeeded', 'failed', 'cancelled')),
            step        text        NOT NULL DEFAULT 'charge' CHECK (step IN ('charge', 'confirm', 'void', 'undo')),
            charge_id   text,
            looks       int         NOT NULL DEFAULT 0,
            due_at      timestamptz,
            holder      text,
            traceparent text,
            created_at  timestamptz NOT NULL DEFAULT now(),
            settled_at  timestamptz
        ) WITH (fillfactor = 70)
    """)
    op.execute("CREATE INDEX attempt_payment ON attempt (payment_id)")
    op.execute("CREATE INDEX attempt_due ON attempt (due_at) WHERE due_at IS NOT NULL")
    op.execute("""
        CREATE UNIQUE INDEX attempt_one_live ON attempt (payment_id) WHERE status IN ('processing', 'requires_action', 'succeeded')
    """)

    op.execute("""
        CREATE TABLE refund (
            id           uuid        PRIMARY KEY,
            payment_id   uuid        NOT NULL REFERENCES payment,
            amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
            reason       text        NOT NULL,
            requested_by text        NOT NULL,
            by_itself    boolean     NOT NULL DEFAULT false,
            status       text        NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'failed')),
            code         text,
            provider_id  text,
            round        int         NOT NULL DEFAULT 0,
            looks        int         NOT NULL DEFAULT 0,
            due_at       timestamptz,
            holder       text,
            traceparent  text,
            created_at   timestamptz NOT NULL DEFAULT now(),
            settled_at   timestamptz
        )
    """)
    op.execute("CREATE INDEX refund_payment ON refund (payment_id, id)")
    op.execute("CREATE INDEX refund_due ON refund (due_at) WHERE due_at IS NOT NULL")


def _ledger() -> None:
    op.execute("""
        CREATE TABLE ledger_account (
            code    text PRIMARY KEY,
            kind    text NOT NULL CHECK (kind IN ('asset', 'contra', 'liability', 'income')),
            meaning text NOT NULL
        )
    """)
    op.execute("""
        INSERT INTO ledger_account (code, kind, meaning) VALUES
            ('psp_clearing', 'asset', 'Money the payment provider holds for us.'),
            ('sales', 'income', 'What customers paid for their orders.'),
            ('refunds', 'contra', 'What was given back to customers.'),
            ('suspense', 'liability', 'Money the provider took that we had not asked for; it goes back.')
    """)
    # One row is one transaction: an amount taken from the account it credits to the account it debits. That a transaction
    # sums to zero is then no rule that a trigger has to check on the hottest path (two more rows, four foreign keys and a
    # sum at every commit, for each order), but the shape of the row. For the same reason a CHECK, not a foreign key, says
    # which accounts there are: a key would lock the same four rows of the chart in every transaction.
    op.execute("""
        CREATE TABLE ledger_transaction (
            id             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            cause          text        NOT NULL,
            cause_id       uuid        NOT NULL,
            payment_id     uuid        NOT NULL,
            debit_account  text        NOT NULL,
            credit_account text        NOT NULL,
            amount_minor   bigint      NOT NULL CHECK (amount_minor > 0),
            currency       text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
            booked_at      timestamptz NOT NULL DEFAULT now(),
            UNIQUE (cause_id, cause),
            CHECK (debit_account <> credit_account),
            CONSTRAINT ledger_rules CHECK ((cause, debit_account, credit_account) IN (
                ('capture', 'psp_clearing', 'sales'),
                ('refund', 'refunds', 'psp_clearing'),
                ('mismatch', 'psp_clearing', 'suspense'),
                ('mismatch_undone', 'suspense', 'psp_clearing')))
        )
    """)
    op.execute("CREATE INDEX ledger_transaction_payment ON ledger_transaction (payment_id)")
    # The entries, as finance and the audit read them: debits positive, credits negative.
    op.execute("""
        CREATE VIEW ledger_entry AS
            SELECT id AS transaction_id, 1::smallint AS line, cause, cause_id, payment_id, debit_account AS account,
                   amount_minor, currency, booked_at
            FROM ledger_transaction
            UNION ALL
            SELECT id, 2::smallint, cause, cause_id, payment_id, credit_account, -amount_minor, currency, booked_at
            FROM ledger_transaction
    """)


def _provider() -> None:
    op.execute("""
        CREATE TABLE webhook_event (
            provider    text        NOT NULL,
            event_id    text        NOT NULL,
            type        text        NOT NULL,
            received_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (provider, event_id)
        )
    """)
    op.execute("CREATE INDEX webhook_event_received_at ON webhook_event (received_at)")
    op.execute("""
        CREATE TABLE discrepancy (
            subject_id  uuid        PRIMARY KEY,
            payment_id  uuid        NOT NULL REFERENCES payment,
            ours        text        NOT NULL,
            theirs      text        NOT NULL,
            found_at    timestamptz NOT NULL DEFAULT now(),
            resolved_at timestamptz
        )
    """)


def _close_ledger() -> None:
    """What is booked stays booked: by rights for the service, by triggers for everybody else."""
    op.execute("""
        CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only: % on % refused', TG_OP, TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
        END $$
    """)
    for table in ("ledger_account", "ledger_transaction"):
        op.execute(f"""
            CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table}
            FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()
        """)
        op.execute(f"""
            CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()
        """)
    op.execute(f"""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{RUNTIME_ROLE}') THEN
                REVOKE UPDATE, DELETE, TRUNCATE ON ledger_transaction FROM {RUNTIME_ROLE};
                REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON ledger_account, ledger_entry FROM {RUNTIME_ROLE};
            END IF;
        END $$
    """)
