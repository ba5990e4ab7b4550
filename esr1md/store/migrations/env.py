"""Run by Alembic: migrates over the connection, inside the transaction, that :mod:`esr1md.store.migrate` gives it."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
