"""Up to when the provider's list of charges was compared with ours."""

from alembic import op

revision = "payment_0005"
down_revision = "payment_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        CREATE TABLE comparison (
            provider      text        PRIMARY KEY,
            begun_at      timestamptz NOT NULL,
            compared_upto timestamptz,
            charges       bigint      NOT NULL DEFAULT 0
        )
    """)
