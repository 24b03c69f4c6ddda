"""Money that is held before it is taken: attempts that are authorized, how each takes its money, and why it failed."""

from alembic import op

revision = "payment_0002"
down_revision = "payment_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Attempts begun before this took the money in one step.
    op.execute("""
        ALTER TABLE attempt
            ADD COLUMN capture boolean NOT NULL DEFAULT true,
            ADD COLUMN code    text,
            DROP CONSTRAINT attempt_status_check,
            ADD CONSTRAINT attempt_status_check CHECK (status IN (
                'processing', 'requires_action', 'authorized', 'succeeded', 'failed', 'cancelled')),
            DROP CONSTRAINT attempt_step_check,
            ADD CONSTRAINT attempt_step_check CHECK (step IN ('charge', 'confirm', 'capture', 'void', 'undo'))
    """)
    op.execute("DROP INDEX attempt_one_live")
    op.execute("""
        CREATE UNIQUE INDEX attempt_one_live ON attempt (payment_id)
        WHERE status IN ('processing', 'requires_action', 'authorized', 'succeeded')
    """)
