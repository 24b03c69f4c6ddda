"""Accounts and sessions."""

from alembic import op

revision = "auth_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # profile_version: the last user.profile_changed that was taken over; password_version: see domain.Credentials.
    op.execute("""
        CREATE TABLE account (
            id               uuid        PRIMARY KEY,
            email            text        NOT NULL UNIQUE,
            name             text        NOT NULL,
            roles            text[]      NOT NULL,
            disabled         boolean     NOT NULL DEFAULT false,
            version          bigint      NOT NULL DEFAULT 1,
            profile_version  bigint      NOT NULL DEFAULT 0,
            password_hash    text        NOT NULL,
            password_version int         NOT NULL DEFAULT 1,
            created_at       timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX account_admins ON account (id) WHERE 'admin' = ANY (roles)")
    # SHA-256 of the two halves of the refresh token: who reads this table can refresh nothing.
    op.execute("""
        CREATE TABLE session (
            id           uuid        PRIMARY KEY,
            user_id      uuid        NOT NULL REFERENCES account ON DELETE CASCADE,
            user_agent   text        NOT NULL,
            lineage_hash bytea       NOT NULL UNIQUE,
            secret_hash  bytea       NOT NULL,
            created_at   timestamptz NOT NULL,
            refreshed_at timestamptz NOT NULL,
            expires_at   timestamptz NOT NULL
        )
    """)
    op.execute("CREATE INDEX session_of_user ON session (user_id, id)")
    op.execute("CREATE INDEX session_expires_at ON session (expires_at)")
