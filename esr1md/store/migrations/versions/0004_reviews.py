"""Reviews: the decisions of people, kept for good."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reviews",
        sa.Column("store", sa.String(32), nullable=False),
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("screen", sa.String(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("inchikey", sa.String(32), nullable=False),
        sa.Column("variant", sa.String()),
        sa.Column("state", sa.String(32)),
        sa.Column("verdict", sa.String(32)),
        sa.Column("undoes", sa.String(32)),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("created", sa.String(32), nullable=False),
        sa.Column("follows", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("store", "id", name="pk_reviews"),
    )
    op.create_index("ix_reviews_screen", "reviews", ["store", "screen", "inchikey"])
