"""The tutorials of docs/tutorials are run as they stand there, and their notebook without Jupyter."""

import asyncio
import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from browser import Browser, needs_chromium
from PIL import Image

from agentgym.data.store import EpisodeDataset

ROOT = Path(__file__).parent.parent.parent
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = ("your-own-environment", "by-hand", "imitation-to-ppo", "serve-to-a-robot")
STAYS = ("agentgym serve", "agentgym playground")  # verbs that go on until they are interrupted
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}.", "OMP_NUM_THREADS": "1"}


def blocks_of(page):
    return re.findall(r"```(\w+)\n(.*?)```", (TUTORIALS / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)


def write_files(page, folder):
    """The blocks that begin with a file's name are those files."""
    for language, text in blocks_of(page):
        name = re.match(r"# (\S+\.\w+)\n", text)
        if name and language in ("python", "toml"):
            (folder / name[1]).write_text(text)


def lines_of(page):
    return [line for language, text in blocks_of(page) if language == "bash" for line in text.strip().splitlines()]


def run(line, folder, *more):
    """A line of a tutorial, in that folder; what it prints."""
    words = [*line.split(), *more]
    words[:1] = [sys.executable, "-m", "agentgym"] if words[0] == "agentgym" else [sys.executable]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, f"{line}: {done.stderr}"
    return done.stdout


@contextmanager
def staying(line, folder):
    """The address at which a verb that stays answers; it is interrupted afterwards."""
    words = [sys.executable, "-m", *re.sub(r"--port \d+", "", line).split(), "--port", "0"]
    words += ["--no-open"] if "playground" in line else []
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        try:
            yield re.search(r"(?:http|ws)://[^\s)]+", process.stdout.readline())[0]
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(300)


def success_of(folder, run_name):
    scores = json.loads((folder / "runs" / run_name / "evaluation.json").read_text())["tasks"][0]
    return scores["success_rate"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the first tutorial has been followed."""
    folder = tmp_path_factory.mktemp("tutorials")
    write_files("your-own-environment", folder)
    for line in lines_of("your-own-environment"):
        run(line, folder)
    return folder


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_of_lines_that_are_run_and_of_links_that_lead_somewhere(page):
    assert all(line.startswith(("agentgym ", "python ")) for line in lines_of(page))
    text = (TUTORIALS / f"{page}.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert (TUTORIALS / target).is_file(), target


@pytest.mark.slow
def test_an_environment_of_ones_own_is_learnt_from_what_chance_did_well(folder):
    assert success_of(folder, "signs") >= 0.9
    assert (folder / "runs/signs/report.html").is_file()
    assert len(EpisodeDataset(folder / "data/by-rule")) == 40
    assert all(EpisodeDataset(folder / "data/by-rule").column("success"))


class PageRequests:
    """A person at the playground, by the requests that its page sends."""

    def __init__(self, address, folder):
        self._address = address

    def demonstrate(self, seeds):
        """Plays an episode of each seed, and keeps it."""
        for seed in seeds:
            view, session = self._enter(seed)
            while not view["over"]:
                view = self._ask(f"{session}/step", action=sign_of(view))
            self._keep(session, view)

    def correct(self, seeds):
        """Lets the agent act, and says what it should have done where it was wrong."""
        for seed in seeds:
            view, session = self._enter(seed)
            while not view["over"]:
                right, choice = sign_of(view), ("left", "right")[int(view["choice"][0])]
                view = self._ask(f"{session}/step")
                if choice != right:
                    self._ask(f"{session}/correct", action=right)
            self._keep(session, view)

    def _enter(self, seed):
        view = self._ask("sessions", seed=seed)
        return view, f"sessions/{view['session']}"

    def _keep(self, session, view):
        self._ask(f"{session}/keep", success=view["success"])
        request = urllib.request.Request(f"{self._address}api/{session}", method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()

    def _ask(self, path, **body):
        request = urllib.request.Request(
            f"{self._address}api/{path}",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)


def sign_of(view):
    """What a person sees in the picture of a sign."""
    frame = Image.open(io.BytesIO(base64.b64decode(view["frame"])))
    red, _, blue = (band[1] for band in frame.getextrema())
    return "right" if blue > red else "left"


SEEN = """(async () => {
  const shown = document.getElementById("frame"), canvas = document.createElement("canvas");
  await shown.decode();
  [canvas.width, canvas.height] = [shown.naturalWidth, shown.naturalHeight];
  const pen = canvas.getContext("2d");
  pen.drawImage(shown, 0, 0);
  const dots = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  let red = 0, blue = 0;
  for (let place = 0; place < dots.length; place += 4) {
    red = Math.max(red, dots[place]);
    blue = Math.max(blue, dots[place + 2]);
  }
  return blue > red ? "ArrowRight" : "ArrowLeft";
})()"""


class Chromium:
    """A person at the playground's page: sees its picture, presses keys, clicks its buttons."""

    def __init__(self, address, folder):
        self._address, self._profile = address, folder / "profile"

    def demonstrate(self, seeds):
        """Plays an episode of each seed, and keeps it."""
        asyncio.run(self._play(seeds, self._act))

    def correct(self, seeds):
        """Lets the agent act, and says what it should have done where it was wrong."""
        asyncio.run(self._play(seeds, self._watch))

    async def _play(self, seeds, turn):
        async with Browser(self._profile) as browser:
            await browser.call("Page.navigate", url=self._address)
            await browser.until("typeof view !== 'undefined' && view !== null")
            for seed in seeds:
                await browser.value(f"document.getElementById('seed').value = '{seed}'")
                await browser.click("#new")
                await browser.until(f"view.seed === {seed} && view.step === 0")
                while not await browser.value("view.over"):
                    await turn(browser)
                await browser.click("#keep")
                await browser.until("document.getElementById('kept').textContent.startsWith('kept ')")
                assert await browser.value("document.getElementById('error').textContent") == ""

    async def _act(self, browser):
        step, key = await browser.value("view.step"), await browser.value(SEEN)
        await browser.press(key)
        await browser.until(f"view.step === {step + 1}")

    async def _watch(self, browser):
        step, key = await browser.value("view.step"), await browser.value(SEEN)
        choice = await browser.value("['ArrowLeft', 'ArrowRight'][view.choice[0]]")
        await browser.click("#step")
        await browser.until(f"view.step === {step + 1}")
        if choice != key:
            await browser.press(key, shift=True)
            await browser.until("document.getElementById('kept').textContent.includes('corrected in this episode')")


@pytest.mark.slow
@pytest.mark.parametrize("person", [PageRequests, pytest.param(Chromium, marks=needs_chromium)])
def test_a_person_plays_corrects_and_the_agent_is_better_for_it(folder, tmp_path, person):
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("runs", "data"))
    write_files("by-hand", tmp_path)
    demonstrations, corrections = [line for line in lines_of("by-hand") if line.startswith("agentgym playground")]
    with staying(demonstrations, tmp_path) as address:
        person(address, tmp_path).demonstrate(range(1_000_000_000, 1_000_000_020))
    assert set(EpisodeDataset(tmp_path / "data/by-hand").column("expert")) == {"human"}
    short = {"agentgym train signs.toml": ("--set", "training.updates=25")}  # one that still makes mistakes
    for line in lines_of("by-hand"):
        if line == corrections:
            with staying(line, tmp_path) as address:
                person(address, tmp_path).correct(range(1_000_001_000, 1_000_001_020))
        elif line != demonstrations:
            run(line, tmp_path, *next((more for start, more in short.items() if line.startswith(start)), ()))
    kept = EpisodeDataset(tmp_path / "data/corrections")
    assert any(kept[place].labels is not None for place in range(len(kept)))
    assert "agent:by-hand+human" in kept.column("expert")
    assert success_of(tmp_path, "corrected") > success_of(tmp_path, "by-hand")


@pytest.mark.slow
def test_imitation_goes_on_as_reinforcement(folder):
    write_files("imitation-to-ppo", folder)
    said = [run(line, folder) for line in lines_of("imitation-to-ppo")]
    curve = [json.loads(line) for line in (folder / "runs/signs-ppo/curve.jsonl").read_text().splitlines()]
    assert curve[-1]["success_rate"] >= curve[0]["success_rate"]
    assert "128 steps" in said[-1]


@pytest.mark.slow
def test_a_robot_process_is_served(folder):
    write_files("serve-to-a-robot", folder)
    served, robot = lines_of("serve-to-a-robot")
    with staying(served, folder) as address:
        said = run(robot, folder, address.replace("http:", "ws:"))
    assert int(said.split()[0]) >= 16


def test_the_notebook_is_one_that_jupyter_opens():
    notebook = json.loads((TUTORIALS / "first-agent.ipynb").read_text(encoding="utf-8"))
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert cell["cell_type"] in ("markdown", "code")
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "it is kept without outputs"
            compile("".join(cell["source"]), cell["id"], "exec")


@pytest.mark.slow
def test_the_notebooks_cells_run_from_top_to_bottom(tmp_path):
    notebook = json.loads((TUTORIALS / "first-agent.ipynb").read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    (tmp_path / "cells.py").write_text("\n\n".join(cells))
    said = run("python cells.py", tmp_path)
    assert "of 8 levels solved" in said
    assert (tmp_path / "runs/few/evaluation.json").is_file()
    shutil.rmtree(tmp_path / "data")
