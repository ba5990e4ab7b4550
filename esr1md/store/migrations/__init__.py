"""The tables of the index from any older version to the newest: an Alembic environment, one file for each version.

A new version is a new file in ``versions/``, named ``NNNN_what.py``, and its number in
:data:`esr1md.store.migrate.VERSIONS`. A version that has been released is never changed.
"""
