"""The tables of an index, as they are after the last migration (``migrations/versions/``)."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
)

metadata = MetaData()

#: Results, by store and digest. ``seconds`` is the wall time; a failure's kind is ``outcome`` or ``error``.
replicas = Table(
    "replicas",
    metadata,
    Column("store", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("variant", String, nullable=False),
    Column("ligand", String, nullable=False),
    Column("inchikey", String),
    Column("state", String, nullable=False),
    Column("seed", Integer, nullable=False),
    Column("protocol", String, nullable=False),
    Column("status", String, nullable=False),
    Column("failure_stage", String),
    Column("failure_cause", String),
    Column("failure_where", String),
    Column("failure_kind", String),
    Column("platform", String),
    Column("seconds", Float),
    Column("started", String),
    Column("finished", String),
    Column("summary", JSON),
    PrimaryKeyConstraint("store", "digest", name="pk_replicas"),
    *(Index(f"ix_replicas_{name}", "store", name) for name in ("inchikey", "ligand", "status", "variant")),
)

#: Which screens asked for which replica; a replica belongs to as many screens as name its spec.
members = Table(
    "screen_replicas",
    metadata,
    Column("store", String(32), nullable=False),
    Column("screen", String, nullable=False),
    Column("digest", String(64), nullable=False),
    PrimaryKeyConstraint("store", "screen", "digest", name="pk_screen_replicas"),
)

#: What tells this database from any other, however it is reached; one row.
database_identity = Table("database_identity", metadata, Column("id", String(32), primary_key=True))

#: Who makes what now (:mod:`.database_leases`). ``process`` tells a process from any other of any machine; ``taken_at``
#: is for people only.
leases = Table(
    "leases",
    metadata,
    Column("store", String(32), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("owner", String(32), nullable=False),
    Column("beat", BigInteger, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("host", String, nullable=False),
    Column("pid", BigInteger, nullable=False),
    Column("process", String, nullable=False),
    Column("taken_at", String, nullable=False),
    PrimaryKeyConstraint("store", "kind", "digest", name="pk_leases"),
)

#: What people decided (:mod:`.reviews`); rows are added, never changed. ``follows`` is a list of ids.
reviews = Table(
    "reviews",
    metadata,
    Column("store", String(32), nullable=False),
    Column("id", String(32), nullable=False),
    Column("screen", String, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("inchikey", String(32), nullable=False),
    Column("variant", String),
    Column("state", String(32)),
    Column("verdict", String(32)),
    Column("undoes", String(32)),
    Column("comment", String, nullable=False),
    Column("reviewer", String, nullable=False),
    Column("created", String(32), nullable=False),
    Column("follows", JSON, nullable=False),
    PrimaryKeyConstraint("store", "id", name="pk_reviews"),
    Index("ix_reviews_screen", "store", "screen", "inchikey"),
)
