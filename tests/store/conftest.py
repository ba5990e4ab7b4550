"""A store, and both databases that its index can be kept in."""

from __future__ import annotations

from pathlib import Path

import pytest

from esr1md.store import Store


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def own(store, monkeypatch) -> Path:
    """The store's own database file, which is to be used."""
    monkeypatch.delenv("ESR1MD_DATABASE_URL", raising=False)
    return store.root / "store.sqlite"


@pytest.fixture
def postgres_url(postgres, monkeypatch) -> str:
    """An empty PostgreSQL database that ``ESR1MD_DATABASE_URL`` names."""
    url = postgres.new_database()
    monkeypatch.setenv("ESR1MD_DATABASE_URL", url)
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, monkeypatch) -> str:
    """Which database the test is run with; ``ESR1MD_DATABASE_URL`` is set accordingly."""
    if request.param == "sqlite":
        monkeypatch.delenv("ESR1MD_DATABASE_URL", raising=False)
    else:
        request.getfixturevalue("postgres_url")
    return request.param
