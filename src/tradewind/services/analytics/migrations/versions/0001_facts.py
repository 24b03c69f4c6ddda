"""Facts about orders, their lines, and money."""

from alembic import op

revision = "analytics_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE order_fact (
            order_id     uuid        PRIMARY KEY,
            customer_id  uuid        NOT NULL,
            currency     text        NOT NULL,
            total_minor  bigint      NOT NULL,
            placed_at    timestamptz NOT NULL,
            confirmed_at timestamptz,
            cancelled_at timestamptz
        )
    """)
    op.execute("CREATE INDEX order_fact_placed_at ON order_fact (placed_at)")
    op.execute("CREATE INDEX order_fact_confirmed_at ON order_fact (confirmed_at) WHERE confirmed_at IS NOT NULL")
    op.execute("CREATE INDEX order_fact_cancelled_at ON order_fact (cancelled_at) WHERE cancelled_at IS NOT NULL")
    op.execute("""
        CREATE TABLE line_fact (
            order_id     uuid   NOT NULL REFERENCES order_fact,
            line         int    NOT NULL,
            sku          text   NOT NULL,
            name         text   NOT NULL,
            quantity     int    NOT NULL,
            amount_minor bigint NOT NULL,
            PRIMARY KEY (order_id, line)
        )
    """)
    op.execute("""
        CREATE TABLE money_fact (
            event_id     uuid        PRIMARY KEY,
            order_id     uuid        NOT NULL,
            kind         text        NOT NULL CHECK (kind IN ('captured', 'refunded')),
            currency     text        NOT NULL,
            amount_minor bigint      NOT NULL CHECK (amount_minor > 0),
            moved_at     timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX money_fact_moved_at ON money_fact (moved_at)")
    op.execute("CREATE INDEX money_fact_order_id ON money_fact (order_id)")
