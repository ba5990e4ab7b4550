"""A store in which the first screen of an exploration has run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from toy_world import World, first_screen


@pytest.fixture(scope="session")
def simulated(tmp_path_factory) -> Path:
    """A folder with the first screen, run; to be copied."""
    folder = tmp_path_factory.mktemp("explore")
    World(folder).simulate(first_screen(folder))
    return folder


@pytest.fixture
def world(simulated, tmp_path) -> World:
    shutil.copytree(simulated, tmp_path, dirs_exist_ok=True)
    return World(tmp_path)
