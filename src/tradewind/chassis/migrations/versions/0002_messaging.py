"""Outbox, inbox and dead letters."""

from alembic import op

revision = "chassis_0002"
down_revision = "chassis_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A queue: nearly empty, nearly all of it dead rows. Vacuum by count, not by a share of nothing.
    op.execute("""
        CREATE TABLE outbox (
            id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            shard       smallint    NOT NULL,
            event_id    uuid        NOT NULL,
            topic       text        NOT NULL,
            key         text        NOT NULL,
            type        text        NOT NULL,
            version     bigint      NOT NULL,
            envelope    bytea       NOT NULL,
            traceparent text,
            created_at  timestamptz NOT NULL DEFAULT clock_timestamp()
        ) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000)
    """)
    op.execute("""
        CREATE TABLE inbox (
            consumer_group text        NOT NULL,
            event_id       uuid        NOT NULL,
            received_at    timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (consumer_group, event_id)
        )
    """)
    op.execute("CREATE INDEX inbox_received_at ON inbox (received_at)")
    op.execute("""
        CREATE TABLE dead_letter (
            id              bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            consumer_group  text        NOT NULL,
            event_id        uuid        NOT NULL,
            topic           text        NOT NULL,
            partition       int         NOT NULL,
            "offset"        bigint      NOT NULL,
            key             text        NOT NULL,
            type            text        NOT NULL,
            value           bytea       NOT NULL,
            headers         text        NOT NULL,
            error           text        NOT NULL,
            detail          text        NOT NULL,
            attempts        int         NOT NULL,
            first_failed_at timestamptz NOT NULL,
            last_failed_at  timestamptz NOT NULL,
            state           text        NOT NULL DEFAULT 'dead' CHECK (state IN ('dead', 'replay', 'replayed', 'dropped')),
            changed_at      timestamptz NOT NULL DEFAULT now(),
            UNIQUE (consumer_group, event_id)
        )
    """)
    op.execute("CREATE INDEX dead_letter_replay ON dead_letter (id) WHERE state = 'replay'")
