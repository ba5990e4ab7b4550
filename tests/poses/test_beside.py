"""Calls beside a placement: done in another process or here, with the same answer, and a death that is named."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from esr1md.errors import StageError
from esr1md.poses.beside import beside


def test_with_a_process_a_call_runs_at_once_and_elsewhere(tmp_path):
    with beside(1, tmp_path / "logs") as others:
        others.begin(Path.touch, tmp_path / "nobody asks")
        begun = others.begin(busy, 0.2)
        asleep = others.begin(time.sleep, 0.2)
        assert begun.result() != os.getpid() and (tmp_path / "nobody asks").exists()
        assert begun.elsewhere == pytest.approx(0.2, abs=0.1)  # CPU seconds of that process
        assert asleep.result() is None and asleep.elsewhere < 0.1
    assert not (tmp_path / "logs").exists()


def test_without_a_process_a_call_is_done_when_it_is_asked_for(tmp_path):
    with beside(0, tmp_path / "logs") as others:
        begun = others.begin(busy, 0.0)
        others.begin(Path.touch, tmp_path / "nobody asks")
        assert begun.result() == os.getpid() and begun.elsewhere == 0.0
    assert not (tmp_path / "nobody asks").exists()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("processes", [0, 1])
def test_an_error_is_raised_where_the_answer_is_asked_for(tmp_path, processes):
    with beside(processes, tmp_path / "logs") as others:
        begun = others.begin(int, "x")
        with pytest.raises(ValueError, match="invalid literal"):
            begun.result()


def test_a_death_is_a_failed_placement_that_names_its_log(tmp_path):
    with pytest.raises(StageError, match="exited with code 7") as caught, beside(1, tmp_path / "logs") as others:
        others.begin(say_and_exit).result()
    assert str(tmp_path / "logs") in str(caught.value)
    assert [path.read_text() for path in (tmp_path / "logs").iterdir()] == ["the last words\n"]


def test_leaving_early_does_not_wait_for_what_was_begun(tmp_path):
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), beside(1, tmp_path / "logs") as others:
        for _ in range(3):
            others.begin(time.sleep, 600)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 60


def busy(seconds: float) -> int:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass
    return os.getpid()


def say_and_exit() -> None:
    os.write(1, b"the last words\n")
    os._exit(7)
