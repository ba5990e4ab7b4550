"""Replicas, and the screens they belong to: the tables before there were migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "replicas",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("variant", sa.String(), nullable=False),
        sa.Column("ligand", sa.String(), nullable=False),
        sa.Column("inchikey", sa.String()),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("protocol", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("failure_stage", sa.String()),
        sa.Column("failure_cause", sa.String()),
        sa.Column("failure_where", sa.String()),
        sa.Column("failure_kind", sa.String()),
        sa.Column("platform", sa.String()),
        sa.Column("seconds", sa.Float()),
        sa.Column("started", sa.String()),
        sa.Column("finished", sa.String()),
        sa.Column("summary", sa.JSON()),
    )
    for name in ("inchikey", "ligand", "status", "variant"):
        op.create_index(f"ix_replicas_{name}", "replicas", [name])
    op.create_table(
        "screen_replicas",
        sa.Column("screen", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
    )
