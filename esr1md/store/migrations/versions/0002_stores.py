"""Every row says which store it is of, so that one database serves several; the database has an identity.

Rows of before become the store's that opens the database first. Where a server had been shared, they may be of several
stores, which the rows do not tell: ``esr1md store rebuild`` of each store mends that.
"""

import uuid

import sqlalchemy as sa
from alembic import context, op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

COLUMNS = (
    "digest, variant, ligand, inchikey, state, seed, protocol, status, failure_stage, failure_cause, failure_where, "
    "failure_kind, platform, seconds, started, finished, summary"
)


def upgrade() -> None:
    for name in ("inchikey", "ligand", "status", "variant"):
        op.drop_index(f"ix_replicas_{name}", "replicas")
    op.rename_table("replicas", "replicas_0001")
    op.rename_table("screen_replicas", "screen_replicas_0001")
    op.create_table(
        "replicas",
        sa.Column("store", sa.String(32), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
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
        sa.PrimaryKeyConstraint("store", "digest", name="pk_replicas"),
    )
    op.create_table(
        "screen_replicas",
        sa.Column("store", sa.String(32), nullable=False),
        sa.Column("screen", sa.String(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("store", "screen", "digest", name="pk_screen_replicas"),
    )
    store = context.config.attributes["store"]
    for table, columns in (("replicas", COLUMNS), ("screen_replicas", "screen, digest")):
        insert = sa.text(f"INSERT INTO {table} (store, {columns}) SELECT :store, {columns} FROM {table}_0001")
        op.execute(insert.bindparams(store=store))
        op.drop_table(f"{table}_0001")
    for name in ("inchikey", "ligand", "status", "variant"):
        op.create_index(f"ix_replicas_{name}", "replicas", ["store", name])

    identity = op.create_table("database_identity", sa.Column("id", sa.String(32), primary_key=True))
    op.bulk_insert(identity, [{"id": uuid.uuid4().hex}])
