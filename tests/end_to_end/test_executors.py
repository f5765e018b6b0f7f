"""Engines: the same results in the same order wherever the work is done, and one line when it cannot be."""

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from refusals import refusal

from agentgym.data.store import EpisodeDataset
from agentgym.errors import UserError
from agentgym.executors import Processes, start
from agentgym.experts import collection
from agentgym.experts.collection import collect
from agentgym.recipes import load_dataset

JOBS = [(number, 10) for number in range(7)]


def all_of(engine, function):
    return list(engine.map(function, JOBS))


@pytest.fixture(scope="module")
def cluster():
    """A local Ray cluster of two workers."""
    with start("ray", workers=2) as engine:
        yield engine


@pytest.fixture(params=["one process", "two processes", pytest.param("ray", marks=pytest.mark.slow)])
def engine(request):
    """Every engine there is."""
    if request.param == "ray":
        return request.getfixturevalue("cluster")
    return Processes(1 if request.param == "one process" else 2)


def test_results_come_in_the_order_of_the_jobs(engine):
    def times(number, factor):  # within the test, so that it goes to the workers whole: they know no test module
        return number * factor

    assert all_of(engine, times) == [0, 10, 20, 30, 40, 50, 60]
    assert list(engine.map(times, [])) == []


def test_results_come_as_they_are_done_when_their_order_does_not_matter(engine):
    def times(number, factor):
        return number * factor

    assert sorted(engine.as_done(times, JOBS)) == [0, 10, 20, 30, 40, 50, 60]
    assert list(engine.as_done(times, [])) == []


def test_what_a_job_raises_is_raised_as_it_was(engine):
    def refuses_three(number, factor):
        if number == 3:
            raise UserError("three is not to be had")
        return number

    assert refusal(all_of, engine, refuses_three) == "three is not to be had"


@pytest.mark.parametrize("name", ["two", pytest.param("ray", marks=pytest.mark.slow)])
def test_a_workers_death_is_one_line(name, request):
    def dies_at_three(number, factor):
        if number == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    engine = Processes(2) if name == "two" else request.getfixturevalue("cluster")
    assert refusal(all_of, engine, dies_at_three).startswith("a worker died: it was killed, or memory ran out")


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert refusal(start("ray").__enter__) == "--engine ray needs ray; pip install 'agentgym-ifm[ray]'"


def test_an_unknown_engine_and_no_worker_are_refused():
    assert "there is no engine 'slurm'; known: processes, ray" in refusal(start("slurm").__enter__)
    assert "0 workers: expected 1 to" in refusal(start(workers=0).__enter__)


@pytest.mark.slow
@pytest.mark.parametrize("job", ["function", "argument"])
def test_a_node_without_the_package_is_one_line(cluster, tmp_path, monkeypatch, job):
    source = "class Number(int):\n    pass\n\ndef double(number):\n    return 2 * number\n"
    (tmp_path / "only_here.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)  # the workers, which run already, do not see it
    only_here = importlib.import_module("only_here")
    function = only_here.double if job == "function" else (lambda number: number)
    line = refusal(lambda: list(cluster.map(function, [(only_here.Number(1) if job == "argument" else 1,)])))
    assert "a node of the cluster cannot import what it is to do" in line


# An environment that kills the worker which plays it.
FATAL = """
import os, sys
import gymnasium, numpy as np

class Fatal(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros((8, 8, 3), np.uint8), {}

    def step(self, action):
        if "default_worker" in sys.argv[0]:
            os.kill(os.getpid(), 9)
        return np.zeros((8, 8, 3), np.uint8), 0.0, True, False, {}

gymnasium.register("Fatal-v0", Fatal)
"""
RECIPE = """
description = "Nothing is left of it"
suite = { name = "fatal", description = "Fatal", tasks = [{ id = "fatal:Fatal-v0", instructions = ["live"] }] }
expert = "random"
episodes = 4
keep = "all"
"""


@pytest.mark.slow
def test_ray_says_nothing_where_results_go(tmp_path):
    (tmp_path / "fatal.py").write_text(FATAL)
    (tmp_path / "fatal.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "agentgym", "collect", "fatal.toml", "--engine", "ray", "--workers", "2", "--json"]
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}{os.pathsep}{tmp_path}"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("agentgym: a worker died")
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_ray_cluster_records_the_bytes_of_one_process(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "CHUNK", 4)
    recipe = load_dataset("babyai-goto-redball", ["episodes=12"])
    for name, engine in (("here", "processes"), ("there", "ray")):
        collect(recipe, tmp_path / name, workers=1, engine=engine)
    here, there = (
        [file.read_bytes() for file in sorted((tmp_path / name).glob("shard-*.arrow"))] for name in ("here", "there")
    )
    assert len(here) == 3
    assert here == there
    assert len(EpisodeDataset(tmp_path / "there")) == 12
