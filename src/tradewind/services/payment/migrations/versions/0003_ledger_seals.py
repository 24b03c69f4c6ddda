"""Seals over the ledger: blocks of transactions, each with the hash of what is in it and of the block before."""

from alembic import op

revision = "payment_0003"
down_revision = "payment_0002"
branch_labels = None
depends_on = None

RUNTIME_ROLE = "payment_service"


def upgrade() -> None:
    # Numbers and bounds leave no room for a second chain, whatever the sealers do.
    op.execute("""
        CREATE TABLE ledger_seal (
            number        bigint      PRIMARY KEY CHECK (number > 0),
            from_id       bigint      NOT NULL UNIQUE,
            to_id         bigint      NOT NULL UNIQUE,
            transactions  bigint      NOT NULL CHECK (transactions > 0),
            previous_hash text        NOT NULL UNIQUE CHECK (previous_hash ~ '^[0-9a-f]{64}$'),
            hash          text        NOT NULL UNIQUE CHECK (hash ~ '^[0-9a-f]{64}$'),
            sealed_at     timestamptz NOT NULL DEFAULT now(),
            CHECK (from_id <= to_id)
        )
    """)
    op.execute("""
        CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON ledger_seal
        FOR EACH ROW EXECUTE FUNCTION ledger_is_append_only()
    """)
    op.execute("""
        CREATE TRIGGER append_only_whole BEFORE TRUNCATE ON ledger_seal
        FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()
    """)
    op.execute(f"""
        DO $$ BEGIN
            IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{RUNTIME_ROLE}') THEN
                REVOKE UPDATE, DELETE, TRUNCATE ON ledger_seal FROM {RUNTIME_ROLE};
            END IF;
        END $$
    """)
    # Statements read a period. Rows lie in the order of time but for moments, so a block range index does, and costs the
    # write path next to nothing.
    op.execute("CREATE INDEX ledger_transaction_booked_at ON ledger_transaction USING brin (booked_at)")
