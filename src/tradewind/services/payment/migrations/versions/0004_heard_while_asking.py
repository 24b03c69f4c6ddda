"""Attempts about which the provider said something by itself since they were last taken up."""

from alembic import op

revision = "payment_0004"
down_revision = "payment_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE attempt ADD COLUMN heard boolean NOT NULL DEFAULT false")
