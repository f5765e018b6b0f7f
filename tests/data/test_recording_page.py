"""What docs/recording.md shows is run as it is."""

import re
from pathlib import Path

import pytest

from agentgym.data.store import EpisodeDataset, check

PAGE = Path(__file__).parents[2] / "docs" / "recording.md"


def test_the_page_runs_from_top_to_bottom(tmp_path, monkeypatch, capsys):
    pytest.importorskip("pygame")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    said = capsys.readouterr().out
    assert "balance the pole" in said
    assert "float32" in said
    for name, count in (("cartpole", 3), ("robot", 1)):
        assert check(tmp_path / "data" / name) == []
        assert len(EpisodeDataset(tmp_path / "data" / name)) == count
