"""Notifications, their mails, and whom to send them to."""

from alembic import op

revision = "notification_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE contact (
            user_id uuid PRIMARY KEY,
            email   text NOT NULL,
            name    text NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE notification (
            id         uuid        PRIMARY KEY,
            event_id   uuid        NOT NULL UNIQUE,
            user_id    uuid        NOT NULL,
            kind       text        NOT NULL,
            title      text        NOT NULL,
            body       text        NOT NULL,
            data       jsonb       NOT NULL,
            created_at timestamptz NOT NULL DEFAULT now(),
            read_at    timestamptz
        )
    """)
    op.execute("CREATE INDEX notification_of_user ON notification (user_id, created_at DESC, id DESC)")
    op.execute("""
        CREATE TABLE mail (
            notification_id uuid        PRIMARY KEY REFERENCES notification,
            message_id      text        NOT NULL UNIQUE,
            attempts        int         NOT NULL DEFAULT 0,
            due_at          timestamptz NOT NULL DEFAULT now(),
            sent_at         timestamptz,
            last_error      text
        )
    """)
    op.execute("CREATE INDEX mail_due ON mail (due_at) WHERE sent_at IS NULL")
