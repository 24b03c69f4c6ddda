"""Keys of idempotent POSTs."""

from alembic import op

revision = "chassis_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE idempotency_key (
            subject     text        NOT NULL,
            key         text        NOT NULL,
            fingerprint bytea       NOT NULL,
            status      smallint,
            headers     text        NOT NULL DEFAULT '{}',
            body        bytea,
            created_at  timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (subject, key)
        )
    """)
    op.execute("CREATE INDEX idempotency_key_created_at ON idempotency_key (created_at)")
