"""How commands speak: to people, to machines with --json, to nobody with --quiet."""

import json
from types import SimpleNamespace

import pytest
from foreign_rooms import write_room
from rich.console import Console
from rich.table import Table
from tiny import TASK

from agentgym.cli import console, main


@pytest.fixture
def agentgym(tmp_path, monkeypatch, capsys):
    """Runs a command in this process and in a folder of its own; what it wrote to stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        code = main.app([str(argument) for argument in arguments], standalone_mode=False)
        assert not code
        return capsys.readouterr()

    return run


def test_json_is_all_there_is_on_stdout(agentgym):
    collect = json.loads(
        agentgym("collect", "babyai-goto-redball", "--set", "episodes=3", "--workers", 1, "--json").out
    )
    assert collect == {
        "data": "data/babyai-goto-redball",
        "episodes": 3,
        "errors": [],
        "outcomes": {"solved": 3, "failed": 0, "error": 0, "timeout": 0},
    }
    check = json.loads(agentgym("check", "data/babyai-goto-redball", "--json").out)
    assert (check["episodes"], check["problems"]) == (3, [])
    scored = ["--suite", "babyai-goto-redball", "--episodes", 4, "--workers", 1]
    for who in ("babyai-bot", "random"):
        found = json.loads(agentgym("evaluate", who, *scored, "--json").out)
        assert found["folder"] == f"evaluations/babyai-goto-redball/{who}"
        assert found["evaluation"]["tasks"][0]["task"] == TASK
    folders = [f"evaluations/babyai-goto-redball/{who}" for who in ("babyai-bot", "random")]
    [compared] = json.loads(agentgym("compare", *folders, "--json").out)["comparisons"]
    assert compared["difference"] == pytest.approx(1.0)
    assert compared["tasks"][0]["pairs"] == 4


def test_what_an_environment_prints_goes_to_stderr(capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    room = write_room(
        tmp_path, "loud_rooms", "LoudRoom-v0", in_step="os.write(1, b'a step')", on_import="print('welcome')"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "loud.toml").write_text(
        'description = "Loud"\nexpert = "random"\nepisodes = 2\nkeep = "all"\n'
        '[suite]\nname = "loud"\ndescription = "Loud"\n'
        f'[[suite.tasks]]\nid = "{room}"\ninstructions = ["go"]\n'
    )
    code = main.app(["collect", "loud.toml", "--workers", "1", "--json"], standalone_mode=False)
    printed = capfd.readouterr()
    assert not code
    assert json.loads(printed.out)["episodes"] == 2
    assert "welcome" in printed.err
    assert "a step" in printed.err


def test_what_changes_and_shows_datasets_speaks_json_too(agentgym):
    data = "data/babyai-goto-redball"
    agentgym("collect", "babyai-goto-redball", "--set", "episodes=3", "--workers", 1, "--quiet")
    said = agentgym("check", data, "--replay", 2, "--json")
    assert json.loads(said.out)["problems"] == []
    assert "replaying" in said.err  # the bar
    merged = json.loads(agentgym("merge", data, "--to", "all", "--json").out)
    assert (merged["data"], merged["episodes"]) == ("all", 3)
    assert json.loads(agentgym("select", data, "--to", "some", "--outcome", "solved", "--json").out)["episodes"] == 3
    assert json.loads(agentgym("view", data, "--json").out) == {"view": f"{data}/view.html"}
    for arguments in (["merge", data, "--to", "other"], ["select", data, "--to", "few"], ["view", data, "--no-open"]):
        said = agentgym(*arguments, "--quiet")
        assert (said.out, said.err) == ("", "")


def test_quiet_says_nothing(agentgym):
    for arguments in (
        ["collect", "babyai-goto-redball", "--set", "episodes=3", "--workers", 1],
        ["check", "data/babyai-goto-redball"],
        ["evaluate", "random", "--suite", "babyai-goto-redball", "--episodes", 2, "--workers", 1],
    ):
        said = agentgym(*arguments, "--quiet")
        assert (said.out, said.err) == ("", "")


def test_people_read_tables_and_one_sentence(agentgym):
    scored = ["--suite", "babyai-goto-redball", "--episodes", 4, "--workers", 1]
    said = agentgym("evaluate", "babyai-bot", *scored).out
    assert "random = 0, expert = 1, over 1 task: IQM 1.000" in said
    agentgym("evaluate", "random", *scored, "--to", "mine")
    sentence = agentgym("compare", "evaluations/babyai-goto-redball/babyai-bot", "mine").out.strip().splitlines()[-1]
    assert sentence.startswith(
        "evaluations/babyai-goto-redball/babyai-bot is better than mine on 1 of 1 task; overall +1.00"
    )


def test_names_are_shown_as_they_are_neither_markup_nor_emoji(capsys):
    name = "[red]envs:rocket:Room-v0[/] ..:x: [link=a]"
    console.complain(name)
    console.CommandOutput(quiet=False, json=False).print(name)
    console.out.print(Table(name, title=name))
    said = capsys.readouterr()
    assert name in said.err
    assert said.out.count(name) == 3


@pytest.mark.parametrize(
    ("seconds", "before", "since", "said"),
    [
        (50.0, 2000, 80, "training: 2,080 of 3,000 updates, 2.0 updates/s"),  # what was done before is not in the rate
        (210.0, 4, 2, "training: 6 of 3,000 updates, 100 s each"),
    ],
)
def test_the_rate_of_what_was_done_here_is_said_a_second_or_each(monkeypatch, capsys, seconds, before, since, said):
    clock = iter([0.0, 10.0, seconds, seconds + 10.0])
    monkeypatch.setattr(console, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(console, "err", Console(stderr=True, width=200))
    with console._lines("training", 3000, "updates") as on_progress:
        on_progress(before, "")
        on_progress(since, "")
    assert said in capsys.readouterr().err
