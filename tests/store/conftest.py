"""Both databases that an index can be kept in, for the tests of the store."""

from __future__ import annotations

import pytest


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
