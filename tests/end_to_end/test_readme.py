"""Every command and code block of the README runs, at a reduced size."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from command import ONE_THREAD, SMALL, agentgym, settings

from agentgym.report.marked_tables import scores_table, update_scores

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLAYGROUND = "agentgym playground"
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the README's commands have been run in order."""
    path = tmp_path_factory.mktemp("readme")
    for line in commands():
        if line.startswith("make ") or line == PLAYGROUND:
            continue
        verb, *rest = line.removeprefix("agentgym ").split()
        if verb in ("collect", "train"):
            prefix = "dataset." if verb == "collect" else ""
            rest += settings(*[each.removeprefix(prefix) for each in SMALL if each.startswith(prefix)])
        result = agentgym(verb, *[word.replace("500", "8") for word in rest], cwd=path)
        assert result.returncode == 0, f"{line}: {result.stderr}"
    return path


def commands():
    return [line for language, text in BLOCKS if language == "bash" for line in text.strip().splitlines()]


def test_the_commands_make_what_the_readme_says(folder):
    assert (folder / "runs/babyai-goto-redball/report.html").is_file()


@pytest.mark.parametrize("target", [line.split()[1] for line in commands() if line.startswith("make ")])
def test_the_make_targets_exist_and_do_what_the_readme_says(target):
    planned = subprocess.run(
        ["make", "--dry-run", "--always-make", target], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    does = {"install": "pip install", "demo": "agentgym run babyai-goto-redball", "test": "pytest"}
    assert does[target] in planned


def test_the_playground_opens_with_an_agent_that_ships(tmp_path):
    assert PLAYGROUND in commands()
    command = [sys.executable, "-m", "agentgym", "playground", "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env=ONE_THREAD) as server:
        try:
            address = re.search(r"http://\S+", server.stdout.readline()).group()
            with urllib.request.urlopen(address + "api/options", timeout=60) as page:
                assert json.load(page)["agent"]
        finally:
            server.kill()


@pytest.mark.parametrize("code", [text for language, text in BLOCKS if language == "python"])
def test_the_python_blocks_run(folder, code):
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        capture_output=True,
        text=True,
        env=ONE_THREAD,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout


def test_the_recipes_written_out_there_run(tmp_path):
    for text in [text for language, text in BLOCKS if language == "toml"]:
        name = re.match(r"# (\S+)", text).group(1)
        (tmp_path / name).write_text(text)
    small = [each for each in SMALL if each != "training.checkpoint_every=2"]
    result = agentgym("run", "my-experiment.toml", *settings(*small), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "runs/my-experiment/report.html").is_file()


def test_the_scores_of_the_readme_are_those_of_the_stored_evaluations():
    (table,) = re.findall(r"<!-- scores:(\S+) -->\n(.*?)<!-- /scores -->", README, re.DOTALL)
    assert scores_table(ROOT / "experiments", table[0].split(",")) == table[1]


def test_the_tables_of_the_results_are_those_of_the_stored_evaluations(tmp_path):
    document = tmp_path / "docs" / "results.md"
    document.parent.mkdir()
    shutil.copy(ROOT / "docs" / "results.md", document)
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments", ignore=shutil.ignore_patterns("agents"))
    update_scores(document, tmp_path / "experiments")
    assert document.read_text() == (ROOT / "docs" / "results.md").read_text()


def test_the_numbers_of_the_readme_are_those_of_the_stored_evaluation():
    for name, table in re.findall(r"<!-- results:(\S+) -->\n(.*?)<!-- /results -->", README, re.DOTALL):
        task = json.loads((ROOT / "experiments" / f"{name}.json").read_text())["tasks"][0]
        rows = {"agent": task, "random": task["random"], task["expert"]["name"]: task["expert"]}
        for policy, scored in rows.items():
            low, high = scored["success_ci95"]
            row = next(line for line in table.splitlines() if line.startswith(f"| {policy} "))
            assert f"{scored['success_rate']:.1%} [{low:.1%}, {high:.1%}]" in row
            assert f"{scored['return_mean']:.3f}" in row
            assert f"{scored['length_mean']:.1f}" in row


def test_every_link_and_picture_of_the_readme_is_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("https://"):
            assert (ROOT / target).exists(), target
