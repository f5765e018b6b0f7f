"""The playground over HTTP, and in a browser."""

import asyncio
import base64
import io
import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import torch
from browser import Browser, address_of, needs_chromium
from fastapi.testclient import TestClient
from PIL import Image
from tiny import TASK, model_of, tokenizer_of

from agentgym.apps import playground as playgrounds
from agentgym.apps.playground import Playground
from agentgym.apps.playground_app import make_app
from agentgym.apps.session import open_dataset
from agentgym.data.store import EpisodeDataset
from agentgym.environments.minigrid import MiniGridTask
from agentgym.errors import UserError
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import FrameRecipe, SuiteRecipe, TaskRecipe

OTHER = "BabyAI-GoToObj-v0"
TASKS = {task: TaskRecipe(id=task) for task in (TASK, OTHER)}


@pytest.fixture
def playground(dataset, tmp_path):
    """A playground with an untrained agent, which records."""
    torch.manual_seed(0)
    agent = AgentPolicy(model_of(dataset), tokenizer_of(dataset))
    writer = open_dataset(tmp_path / "kept", [TASKS[TASK]], FrameRecipe())
    playground = Playground(TASKS, FrameRecipe(), agent, "tiny", [TASK], writer, max_sessions=2)
    yield playground
    playground.close()


@pytest.fixture
def client(playground):
    return TestClient(make_app(playground), base_url="http://localhost")


def posted(client, path, status=200, **body):
    answer = client.post(f"/api/{path}", json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_an_episode_is_watched_taken_over_kept_and_found_in_the_dataset(client, playground, tmp_path):
    view = posted(client, "sessions", seed=4)
    session = f"sessions/{view['session']}"
    assert view["controls"]["keys"]["forward"] == "ArrowUp"
    assert Image.open(io.BytesIO(base64.b64decode(view["frame"]))).size == (56, 56)
    assert sum(view["probabilities"]) == pytest.approx(1)
    watched = posted(client, f"{session}/step")
    assert (watched["step"], watched["who"]) == (1, "agent:tiny")
    assert posted(client, f"{session}/step", action="left")["who"] == "human"
    kept = posted(client, f"{session}/keep", success=True)
    assert kept == {"kept": 1, "steps": 2, "corrected": 0, "expert": "agent:tiny+human", "success": True}
    episode = EpisodeDataset(tmp_path / "kept")[0]  # on disk at once
    assert (episode.task, episode.seed, episode.expert, episode.success) == (TASK, 4, "agent:tiny+human", True)
    assert list(episode.actions) == [*view["choice"], 0]
    again = posted(client, f"{session}/begin", seed=4, instruction="<b>go</b>")
    assert (again["step"], again["instruction"], again["mission"]) == (0, "<b>go</b>", view["mission"])


@pytest.mark.parametrize(
    ("path", "body", "problem"),
    [
        ("sessions", {"task": "Nowhere-v0"}, "task 'Nowhere-v0' is not offered here"),
        ("sessions", {"seed": -3}, "seed: input should be greater than or equal to 0"),
        ("sessions", {"seed": 2**31}, "seed 2147483648: expected 0 to 2147483647"),
        ("sessions", {"sed": 3}, "sed: extra inputs are not permitted"),
        ("sessions/none/step", {}, "this session is over; reload the page"),
    ],
    ids=str,
)
def test_bad_input_is_one_clear_line(client, playground, path, body, problem):
    answer = posted(client, path, status=400, **body)
    assert list(answer) == ["error"]
    assert problem in answer["error"]
    assert not playground.visitors


def test_what_an_environment_raises_is_one_line_too_and_the_episode_goes_on(client, playground, monkeypatch):
    session = f"sessions/{posted(client, 'sessions', seed=4)['session']}"
    with monkeypatch.context() as broken:
        broken.setattr(MiniGridTask, "advance", lambda self, action: sys.exit(0))
        line = posted(client, f"{session}/step", status=500, action="left")["error"]
    assert line == f"{TASK}: its step raises SystemExit: 0; fix that code"
    assert posted(client, f"{session}/step", action="left")["step"] == 1


def test_a_corrected_step_is_kept_with_the_persons_label_beside_what_was_done(client, tmp_path):
    view = posted(client, "sessions", seed=4)
    session = f"sessions/{view['session']}"
    assert "no step to correct" in posted(client, f"{session}/correct", status=400, action="left")["error"]
    done = view["choice"][0]
    then = posted(client, f"{session}/step")["choice"][0]
    assert posted(client, f"{session}/correct", action="toggle") == {"corrected": 1}
    assert "expected one of left" in posted(client, f"{session}/correct", status=400, action="fly")["error"]
    posted(client, f"{session}/step")
    assert posted(client, f"{session}/keep")["corrected"] == 1
    episode = EpisodeDataset(tmp_path / "kept")[0]
    assert (list(episode.actions), list(episode.labels)) == ([done, then], [5, then])
    assert episode.expert == "agent:tiny+human"


def test_a_wrong_step_leaves_the_episode_as_it_was(client):
    session = f"sessions/{posted(client, 'sessions')['session']}"
    assert "action 'fly': expected one of left" in posted(client, f"{session}/step", status=400, action="fly")["error"]
    assert "no step to keep" in posted(client, f"{session}/keep", status=400)["error"]
    assert posted(client, f"{session}/step")["step"] == 1


def test_no_more_visitors_than_there_are_places(client, playground, monkeypatch):
    first = posted(client, "sessions")["session"]
    second = posted(client, "sessions", task=OTHER)["session"]
    assert "all 2 places are taken" in posted(client, "sessions", status=400)["error"]
    client.delete(f"/api/sessions/{second}")
    third = posted(client, "sessions")["session"]
    monkeypatch.setattr("agentgym.apps.playground.IDLE_S", 0.0)
    fourth = posted(client, "sessions")["session"]  # whoever was idle for longest makes room
    assert set(playground.visitors) == {third, fourth}
    assert first not in playground.visitors


def test_elsewhere_than_on_the_loopback_a_token_is_needed(playground):
    client = TestClient(make_app(playground, token="a token"), base_url="http://localhost")
    asked = [client.get(path) for path in ("/", "/api/options", "/?token=none")]
    for answer in (*asked, client.post("/api/sessions")):
        assert answer.status_code == 401
        assert "the token is missing or wrong" in answer.json()["error"]
    assert client.get("/?token=a token").status_code == 200
    assert client.get("/api/options", headers={"x-token": "a token"}).json()["tasks"] == [TASK, OTHER]


def test_worlds_whose_package_is_missing_are_left_out(monkeypatch):
    def check(suite):
        if suite.name == "games":
            raise UserError("MinAtar is not installed")

    monkeypatch.setattr(playgrounds.environments, "check_suite", check)
    suites = {
        name: SuiteRecipe(name=name, description=name, tasks=[TaskRecipe(id=task)])
        for name, task in (("games", "MinAtar/Freeway-v1"), ("rooms", TASK))
    }
    monkeypatch.setattr(playgrounds, "_load", lambda run: (None, "many", list(suites.values())))
    assert "MinAtar/Freeway-v1" not in (offered := playgrounds.offer(Path("runs/many"), suite=None, record=None)).tasks
    assert TASK in offered.tasks
    suites.pop("rooms")
    with pytest.raises(UserError, match="MinAtar is not installed"):
        playgrounds.offer(Path("runs/many"), suite=None, record=None)


def test_a_page_elsewhere_cannot_reach_the_loopback_by_another_name(client):
    assert client.get("/api/options", headers={"host": "evil.example"}).status_code == 400


def test_without_an_agent_and_a_dataset_people_just_play():
    playground = Playground({TASK: TASKS[TASK]}, FrameRecipe())
    client = TestClient(make_app(playground), base_url="http://localhost")
    assert client.get("/api/options").json() == {
        "tasks": [TASK],
        "known": [],
        "agent": None,
        "record": None,
        "clips": False,
    }
    view = posted(client, "sessions")
    assert view["probabilities"] is None
    session = f"sessions/{view['session']}"
    assert posted(client, f"{session}/step", action="right")["who"] == "human"
    assert "there is no agent to act" in posted(client, f"{session}/step", status=400)["error"]
    assert "start the playground with --record" in posted(client, f"{session}/keep", status=400)["error"]
    playground.close()


def test_the_page_asks_for_nothing_elsewhere(client):
    page = client.get("/").text
    assert "http:" not in page
    assert "https:" not in page


async def play_in_browser(profile, address, picture):
    """Types an instruction, watches a step, takes over for two, keeps the episode; what the page says then."""
    async with Browser(profile) as browser:
        await browser.call("Page.navigate", url=address)
        await browser.until("typeof view !== 'undefined' && view !== null")
        await browser.value("document.getElementById('instruction').value = '<b>go</b> to the red ball'")
        await browser.value("document.querySelector('#instruct button').click()")
        await browser.until("view.instruction.startsWith('<b>go') && view.step === 0")
        await browser.value("document.getElementById('step').click()")
        await browser.until("view.step === 1")
        await browser.press("ArrowLeft")
        await browser.until("view.step === 2")
        await browser.press("ArrowRight")
        await browser.until("view.step === 3")
        shot = await browser.call("Page.captureScreenshot")
        picture.write_bytes(base64.b64decode(shot["data"]))
        await browser.value("document.getElementById('good').click()")
        await browser.value("document.getElementById('keep').click()")
        await browser.until("document.getElementById('kept').textContent !== ''")
        return await browser.value("['kept', 'error'].map(id => document.getElementById(id).textContent)")


@pytest.mark.slow
@needs_chromium
def test_an_episode_played_in_a_browser_is_in_the_dataset(playground, tmp_path):
    address = address_of(playground)
    kept, error = asyncio.run(play_in_browser(tmp_path / "profile", address, tmp_path / "playground.png"))
    assert (kept, error) == ("kept 1: 3 steps by agent:tiny+human, a success", "")
    episode = EpisodeDataset(tmp_path / "kept")[0]
    assert episode.instruction == "<b>go</b> to the red ball"
    assert list(episode.actions[1:]) == [0, 1]


@pytest.mark.slow
def test_the_command_says_its_address_and_ends_on_interrupt(tmp_path):
    command = (sys.executable, "-m", "agentgym", "playground", "--no-open", "--port", "0", "--record", "kept")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        try:
            address = process.stdout.readline().split()[1]
            with urllib.request.urlopen(f"{address}api/options") as answer:
                assert json.load(answer)["record"] == "kept"
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()
    assert "Traceback" not in errors


def test_what_no_page_sends_is_one_line(playground):
    client = TestClient(make_app(playground), base_url="http://localhost")
    assert client.get("/").headers["content-security-policy"] == "frame-ancestors 'none'"
    assert client.get("/", headers={"host": "testserver"}).status_code == 400
    asked = {"instruction": "\ud800 go"}
    answers = [
        client.post("/api/sessions", content=json.dumps(asked), headers={"content-type": "application/json"}),
        client.post("/api/sessions", content=b"{", headers={"content-type": "application/json"}),
        client.post("/api/sessions", content=b"\xff", headers={"content-type": "application/json"}),
        client.post("/api/sessions", content=iter([b"{}"])),
        client.post("/api/sessions", content=b" " * 100_000),
        client.put("/api/sessions", json={}),
        client.get("/nothing"),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400, 413, 413, 405, 404]
    for answer in answers:
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]
