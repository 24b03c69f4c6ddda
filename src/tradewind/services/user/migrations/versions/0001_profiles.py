"""Profiles and addresses."""

from alembic import op

revision = "user_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    # A trusted extension: the owner of a database may create it.
    op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    # The three versions: see domain.profile.Profile.
    op.execute("""
        CREATE TABLE profile (
            id              uuid        PRIMARY KEY,
            email           text        NOT NULL,
            name            text        NOT NULL,
            roles           text[]      NOT NULL,
            locale          text,
            phone           text,
            disabled        boolean     NOT NULL DEFAULT false,
            registered_at   timestamptz,
            version         bigint      NOT NULL DEFAULT 1,
            event_version   bigint      NOT NULL DEFAULT 0,
            account_version bigint      NOT NULL DEFAULT 0,
            search          text        NOT NULL GENERATED ALWAYS AS (lower(email || ' ' || name)) STORED
        )
    """)
    op.execute("CREATE INDEX profile_search ON profile USING gin (search gin_trgm_ops)")
    op.execute("""
        CREATE TABLE address (
            id          uuid    PRIMARY KEY,
            user_id     uuid    NOT NULL REFERENCES profile ON DELETE CASCADE,
            name        text    NOT NULL,
            line1       text    NOT NULL,
            line2       text,
            city        text    NOT NULL,
            postal_code text    NOT NULL,
            region      text,
            country     text    NOT NULL,
            is_default  boolean NOT NULL,
            version     bigint  NOT NULL DEFAULT 1
        )
    """)
    op.execute("CREATE INDEX address_of_user ON address (user_id, id)")
    op.execute("CREATE UNIQUE INDEX address_default ON address (user_id) WHERE is_default")
