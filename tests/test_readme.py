"""The README's Python example runs as it is written, on the smallest protocol that does every step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from systems import tiny_protocol

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_the_python_example_runs(tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("esr1md.dynamics.protocol.load_protocol", lambda name: tiny_protocol())
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "one" / "summary.json").is_file()
    assert "4-hydroxytamoxifen" in (tmp_path / "one" / "parameters" / "record.json").read_text()
    assert capsys.readouterr().out.strip()


def test_the_yaml_example_loads(tmp_path):
    from esr1md.config import load_screen

    (text,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "my-screen.yaml").write_text(text)
    config = load_screen(tmp_path / "my-screen.yaml")
    assert config.ligand_names == ("fulvestrant", "4-hydroxytamoxifen", "my-lead")
