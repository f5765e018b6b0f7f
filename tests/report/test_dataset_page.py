"""The page of a dataset: everything on one page, nothing from the network, nothing that a dataset says is run."""

import json
import re
import shutil

import pytest
from browser import shown_by_a_browser
from counted import counted_episode, counted_header
from typer.testing import CliRunner

from agentgym.cli import main
from agentgym.data.store import DatasetWriter, sample_dataset
from agentgym.report import dataset_page
from agentgym.report.dataset_page import write_view

HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


@pytest.fixture
def path(tmp_path):
    with DatasetWriter(tmp_path / "data", counted_header(recipe={"name": HOSTILE}), commit_seconds=1000) as writer:
        for seed in range(6):
            writer.append(counted_episode(seed, instruction=HOSTILE, task=HOSTILE, success=seed % 2 == 0))
    return tmp_path / "data"


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S).group(1))


def test_the_page_lists_every_episode_and_has_videos_of_a_sample(path):
    page = write_view(path, videos=3).read_text()
    data = data_of(page)
    assert data["episodes"] == list(range(6))
    assert data["columns"]["instruction"] == [HOSTILE] * 6
    assert len(data["videos"]) == 3
    assert "Videos of 3 of 6 episodes" in page
    for video in data["videos"].values():
        assert len(video["frames"]) == len(video["actions"]) + 1 == len(video["rewards"]) + 1
        assert video["actions"][:3] == ["one", "two", "three"]


@pytest.mark.parametrize(("listed", "videos"), [(6, 3), (4, 3), (2, 3)])
def test_the_table_lists_as_many_as_it_may_and_all_that_have_a_video(path, monkeypatch, listed, videos):
    monkeypatch.setattr(dataset_page, "LISTED", listed)
    data = data_of(write_view(path, videos=videos).read_text())
    assert len(data["episodes"]) == max(listed, videos)
    assert {int(episode) for episode in data["videos"]} <= set(data["episodes"])


def test_what_a_dataset_says_is_text(path):
    page = write_view(path).read_text()
    assert page.count("<script") == page.count("</script>") == 2
    assert "<img src=x" not in page
    assert "http" not in page.replace("<!doctype html>", "").replace("http-equiv", "")


def test_a_view_leaves_the_dataset_whole_and_recordable(path):
    write_view(path)
    with DatasetWriter(path, counted_header(recipe={"name": HOSTILE})) as writer:
        writer.append(counted_episode(9))
    assert len(data_of(write_view(path).read_text())["episodes"]) == 7


def test_the_command_line_writes_the_page_where_it_is_asked_to(tmp_path):
    to = tmp_path / "page.html"
    result = CliRunner().invoke(main.app, ["view", str(sample_dataset()), "--no-open", "--to", str(to)])
    assert result.exit_code == 0, result.output
    assert len(data_of(to.read_text())["episodes"]) == 40


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the chromium browser on PATH")
def test_a_browser_shows_ten_thousand_episodes_and_a_video_and_runs_no_text(tmp_path):
    with DatasetWriter(tmp_path / "data", counted_header(), commit_seconds=1000) as writer:
        for seed in range(100):
            writer.append(counted_episode(seed, instruction=HOSTILE, task="Count-v0"))
    (tmp_path / "data" / "manifest.json").unlink()
    for number in range(1, 120):
        first = tmp_path / "data" / "shard-000000.arrow"
        shutil.copy(first, first.with_name(f"shard-{number:06d}.arrow"))
    page = write_view(tmp_path / "data")
    assert page.stat().st_size < 3_000_000
    shown = shown_by_a_browser(page, tmp_path / "profile")
    assert "Videos of 24 of 12,000 episodes" in shown
    assert "10000 found, the first 200 shown" in shown
    assert shown.count("<tr>") > 200
    assert 'src="data:image/png;base64,' in shown
    assert "<img src=x" not in shown.replace(HOSTILE.replace("/", "\\/"), "")
