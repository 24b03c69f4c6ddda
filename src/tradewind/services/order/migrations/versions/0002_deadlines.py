"""A deadline for every status, and who, which event and which trace an entry of the timeline came from."""

from alembic import op

revision = "order_0002"
down_revision = "order_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE orders
            ALTER COLUMN expires_at DROP NOT NULL,
            ADD COLUMN deadline_at timestamptz,
            ADD COLUMN look_at timestamptz
    """)
    op.execute("""
        UPDATE orders SET deadline_at = due.at, look_at = due.at
        FROM (
            SELECT id, CASE
                WHEN status = 'pending' THEN expires_at
                WHEN status = 'confirmed' THEN updated_at + interval '3 days'
                WHEN status = 'shipped' THEN updated_at + interval '14 days'
                WHEN status = 'cancelled' AND payment_status NOT IN ('failed', 'cancelled', 'refunded')
                    THEN now() + interval '10 minutes'
            END AS at
            FROM orders
        ) AS due
        WHERE due.id = orders.id AND due.at IS NOT NULL
    """)
    # Instances of the release before still write `expires_at` and no deadline: the default gives their orders one.
    op.execute("""
        ALTER TABLE orders
            ALTER COLUMN deadline_at SET DEFAULT now() + interval '15 minutes',
            ALTER COLUMN look_at SET DEFAULT now() + interval '15 minutes'
    """)
    op.execute("DROP INDEX orders_deadline")
    op.execute("CREATE INDEX orders_look ON orders (look_at) WHERE look_at IS NOT NULL")
    # Few rows: those that the deadline job has seen to and that have not moved since.
    op.execute("""
        CREATE INDEX orders_stuck ON orders (status)
        WHERE deadline_at IS NOT NULL AND look_at IS DISTINCT FROM deadline_at
    """)
    op.execute("""
        ALTER TABLE order_timeline
            ADD COLUMN by uuid,
            ADD COLUMN event_id uuid,
            ADD COLUMN trace_id text
    """)
