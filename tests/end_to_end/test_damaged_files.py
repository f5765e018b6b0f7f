"""Whatever becomes of the files of a dataset, a run, an evaluation or an export: one line and exit code 2, or a right
answer, and never a traceback. Bytes flip, files are cut short, values of JSON are swapped, at random."""

import copy
import json
import os
import random
import shutil
import sys

import pytest
from tiny import experiment_recipe, record

from agentgym.cli import main
from agentgym.data.exchange import export_hub, export_lerobot, export_minari
from agentgym.experiments import imitation

VALUES = (None, [], {}, "", "x", -1, 0, 2**70, 1e308, True, [1, 2], {"a": 1}, "../../x", "\udcff", [None], "9" * 300)
ROUNDS = 15
SETTINGS = ("training.updates=1", "training.batch_size=2", "training.evaluate_episodes=0", "training.window=4")


def command(*arguments):
    """The exit code of a command in this process; a traceback is raised."""
    sys.argv = ["agentgym", *map(str, arguments)]
    return main._run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with one of each, whole."""
    base = tmp_path_factory.mktemp("whole")
    record(base / "data")
    recipe = experiment_recipe()
    imitation.train(recipe, base / "data", base / "run", processes=1)
    played = ("--workers", 1, "--quiet")
    assert command("evaluate", base / "run", *played) == 0
    suite = ("--suite", "babyai-goto-redball", "--episodes", 6, "--first-seed", 0)
    assert command("evaluate", "random", *suite, "--to", base / "random", *played) == 0
    assert command("export", base / "run", base / "agent", "--to", "agent", "--quiet") == 0
    export_minari(base / "data", base / "minari")
    export_hub(base / "data", base / "hub")
    export_lerobot(base / "data", base / "lerobot")
    return base


def verbs(kind, folder, whole):
    """Every verb that reads such a folder."""
    out, quiet = folder.parent, "--quiet"
    (minari,) = folder.glob("data/*-v0") if kind == "minari" else (folder,)
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    again = ("--workers", 1, "--episodes", 1, "--first-seed", 2_000_000, quiet)
    train = ("train", "babyai-goto-redball", "--run", out / "trained", "--processes", 1, quiet, *settings)
    return {
        "data": [
            ("check", folder),
            ("check", folder, "--replay"),
            ("view", folder, "--no-open", "--to", out / "view.html", quiet),
            *(("export", folder, out / name, "--to", name, quiet) for name in ("hub", "lerobot", "minari")),
            ("merge", folder, "--to", out / "merged", quiet),
            ("select", folder, "--to", out / "selected", "--outcome", "solved", quiet),
            (*train, "--data", folder),
            ("check", folder, "--repair"),
        ],
        "run": [
            ("report", folder, quiet),
            ("report", folder, whole / "run", "--to", out / "two.html", quiet),
            ("compare", folder, whole / "random", quiet),
            ("publish", folder, "--to", out / "published", quiet),
            ("export", folder, out / "agent", "--to", "agent", quiet),
            ("evaluate", folder, "--workers", 1, quiet),
            ("evaluate", folder, "--to", out / "again", *again),
        ],
        "random": [
            ("compare", whole / "run", folder, quiet),
            ("evaluate", "random", "--suite", "babyai-goto-redball", "--to", folder, "--episodes", 6, quiet),
        ],
        "agent": [("evaluate", folder, "--to", out / "again", *again), ("report", folder, quiet)],
        "minari": [("import", minari, "--out", out / "imported", quiet)],
        "lerobot": [("import", folder, "--out", out / "imported", quiet)],
    }[kind]


def damaged(file, generator):
    """The content of a file after something happened to it."""
    content = file.read_bytes()
    if file.suffix in (".json", ".jsonl") and generator.random() < 0.7:
        lines = content.decode().splitlines() if file.suffix == ".jsonl" else [content.decode()]
        place = generator.randrange(len(lines))
        lines[place] = json.dumps(swapped(json.loads(lines[place]), generator))
        return "\n".join(lines).encode()
    how = generator.choice(["flip", "flip", "cut", "empty", "zeros"])
    if how == "flip":
        changed = bytearray(content)
        for _ in range(generator.choice([1, 3, 20])):
            changed[generator.randrange(len(changed))] ^= 1 << generator.randrange(8)
        return bytes(changed)
    return {"cut": content[: generator.randrange(len(content))], "empty": b"", "zeros": bytes(len(content))}[how]


def swapped(values, generator):
    """The values with another one at some place, or without it."""
    values = copy.deepcopy(values)
    places = [((), values)]
    for path, here in places:
        keys = here.keys() if isinstance(here, dict) else range(min(6, len(here))) if isinstance(here, list) else ()
        places += [((*path, key), here[key]) for key in keys]
    path, _ = generator.choice(places)
    if not path:
        return generator.choice(VALUES)
    here = values
    for key in path[:-1]:
        here = here[key]
    if generator.random() < 0.2:
        del here[path[-1]]
    else:
        here[path[-1]] = generator.choice(VALUES)
    return values


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["data", "run", "random", "agent", "minari", "lerobot"])
def test_no_damage_ends_in_a_traceback(whole, tmp_path, monkeypatch, capfd, kind):
    monkeypatch.chdir(tmp_path)
    files = [file for file in sorted((whole / kind).rglob("*")) if file.is_file() and file.stat().st_size]
    for number in range(ROUNDS):
        generator = random.Random(f"{kind} {number}")
        file = generator.choices(files, [3 if "json" in each.suffix else 1 for each in files])[0]
        folder = tmp_path / str(number) / kind
        shutil.copytree(whole / kind, folder, copy_function=os.link)
        target = folder / file.relative_to(whole / kind)
        content = damaged(file, generator)
        target.unlink()
        target.write_bytes(content)
        for arguments in verbs(kind, folder, whole):
            capfd.readouterr()
            code = command(*arguments)
            said = capfd.readouterr().err
            assert code in (0, 1, 2), (number, arguments, said)
            refusals = [line for line in said.splitlines() if line.startswith("agentgym: ")]
            assert code != 2 or len(refusals) >= 1, (number, arguments, said)
            assert "Traceback" not in said, (number, arguments, said)
        shutil.rmtree(folder.parent)
