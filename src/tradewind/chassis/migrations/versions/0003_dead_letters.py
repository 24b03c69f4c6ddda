"""Dead letters keep the order of their key and say who decided; failures are counted beyond a restart."""

from alembic import op

revision = "chassis_0003"
down_revision = "chassis_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        ALTER TABLE dead_letter
            ADD COLUMN decided_by text,
            ADD COLUMN reason text,
            ADD COLUMN retry_at timestamptz,
            DROP CONSTRAINT dead_letter_state_check,
            ADD CONSTRAINT dead_letter_state_check CHECK (state IN ('dead', 'behind', 'replay', 'replayed', 'dropped'))
    """)
    op.execute("DROP INDEX dead_letter_replay")
    # Asked for every batch, and nearly always empty: the keys that wait for a decision.
    op.execute("""
        CREATE INDEX dead_letter_open ON dead_letter (consumer_group, topic, key, id)
        WHERE state IN ('dead', 'behind', 'replay')
    """)
    op.execute("CREATE INDEX dead_letter_due ON dead_letter (consumer_group, id) WHERE state IN ('behind', 'replay')")
    op.execute("""
        CREATE TABLE delivery_attempt (
            consumer_group  text        NOT NULL,
            event_id        uuid        NOT NULL,
            attempts        int         NOT NULL,
            failures        int         NOT NULL,
            first_failed_at timestamptz NOT NULL,
            noted_at        timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer_group, event_id)
        )
    """)
