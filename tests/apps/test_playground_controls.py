"""The playground's controls in Chromium: sliders and a pad for a Box, held keys for MultiBinary, corrections."""

import asyncio

import gymnasium
import numpy as np
import pytest
import torch
from browser import Browser, address_of, needs_chromium
from tiny import model_of, tokenizer_of

from agentgym.apps.playground import Playground
from agentgym.apps.session import Session, open_dataset
from agentgym.data.store import EpisodeDataset
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import FrameRecipe, TaskRecipe

pytestmark = [pytest.mark.slow, needs_chromium]
SPACES = {
    "box": gymnasium.spaces.Box(-1, np.array([1, 2], np.float32), (2,), np.float32),
    "multibinary": gymnasium.spaces.MultiBinary(3),
    "discrete": gymnasium.spaces.Discrete(3),
}


class Grey(gymnasium.Env):
    """Shows how many steps were taken; ends after so many."""

    observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    render_mode = "rgb_array"

    def __init__(self, kind, last):
        self.action_space, self.last = SPACES[kind], last

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = 0
        return self.render(), {}

    def step(self, action):
        self.taken += 1
        return self.render(), 0.0, self.taken == self.last, False, {}

    def render(self):
        return np.full((16, 16, 3), self.taken, np.uint8)


@pytest.fixture
def played(tmp_path, request):
    """Plays in a browser, as `play(browser)` does, and gives the episode that was kept."""
    kind, last = request.param
    name = f"Grey-{kind}-v0"
    gymnasium.register(name, lambda **_: Grey(kind, last))
    task = TaskRecipe(id=name, instructions=("go",))
    first = Session(task, frame=FrameRecipe())
    first.act(0 if kind == "discrete" else [0.0] * SPACES[kind].shape[0])
    with open_dataset(tmp_path / "first", [task], FrameRecipe()) as writer:
        writer.append(first.keep())
    dataset = EpisodeDataset(tmp_path / "first")
    torch.manual_seed(0)
    agent = AgentPolicy(model_of(dataset, task=name), tokenizer_of(dataset))
    writer = open_dataset(tmp_path / "kept", [task], FrameRecipe())
    playground = Playground({name: task}, FrameRecipe(), agent, "tiny", [name], writer)
    address = address_of(playground)

    async def go(play):
        async with Browser(tmp_path / "profile") as browser:
            await browser.call("Page.navigate", url=address)
            await browser.until("typeof view !== 'undefined' && view !== null")
            await play(browser)
            await browser.click("#keep")
            await browser.until("document.getElementById('kept').textContent.startsWith('kept ')")
            assert await browser.value("document.getElementById('error').textContent") == ""

    def run(play):
        asyncio.run(go(play))
        return EpisodeDataset(tmp_path / "kept")[0]

    yield run
    playground.close()
    del gymnasium.registry[name]


async def key(browser, kind, shown, code, modifiers=0):
    await browser.call(
        "Input.dispatchKeyEvent",
        type=kind,
        key=shown,
        code=code,
        windowsVirtualKeyCode=ord(code[-1]),
        modifiers=modifiers,
    )


@pytest.mark.parametrize("played", [("box", 40)], indirect=True)
def test_a_box_is_played_by_sliders_and_by_the_pointer_and_each_tokens_probability_is_shown(played):
    async def play(browser):
        await browser.until("document.querySelectorAll('#tokens b').length === 2")
        assert "%" in await browser.value("document.getElementById('tokens').innerText")
        await browser.value(
            "(() => { const s = document.querySelector('#actions input'); s.value = 0.5;"
            " s.dispatchEvent(new Event('input')); })()"
        )
        await browser.click("#act")
        await browser.until("view.step === 1")
        assert "what it remembers: 2 frames" in await browser.value("document.getElementById('remembers').textContent")
        box = await browser.value(
            "(() => { const pad = document.querySelector('.pad'); pad.scrollIntoView();"
            " const b = pad.getBoundingClientRect();"
            " return [b.x, b.y, b.width, b.height]; })()"
        )
        at = {"x": box[0] + 0.75 * box[2], "y": box[1] + 0.25 * box[3], "button": "left", "clickCount": 1}
        await browser.call("Input.dispatchMouseEvent", type="mousePressed", **at)
        await browser.until("view.step >= 3")
        await browser.call("Input.dispatchMouseEvent", type="mouseReleased", **at)
        await browser.until("living === null")
        await asyncio.sleep(0.5)  # nothing acts on its own now
        step = await browser.value("view.step")
        await asyncio.sleep(0.5)
        assert await browser.value("view.step") == step

    actions = played(play).actions
    assert actions[0].tolist() == [0.5, 0.0]
    assert len(actions) >= 3
    np.testing.assert_allclose(actions[1:], [[0.5, 1.25]] * (len(actions) - 1), atol=0.03)


@pytest.mark.parametrize("played", [("multibinary", 40)], indirect=True)
def test_keys_that_are_held_are_pressed_in_every_step(played):
    async def play(browser):
        await key(browser, "keyDown", "1", "Digit1")
        await browser.until("view.step >= 2")
        await key(browser, "keyDown", "3", "Digit3")
        step = await browser.value("view.step")
        await browser.until(f"view.step >= {step + 3}")
        for each in "13":
            await key(browser, "keyUp", each, f"Digit{each}")
        await browser.until("living === null")

    actions = played(play).actions.tolist()
    assert actions[:2] == [[1, 0, 0]] * 2
    assert [1, 0, 1] in actions
    assert actions == sorted(actions), "first one key, then two"


@pytest.mark.parametrize("played", [("discrete", 2)], indirect=True)
def test_a_digit_with_shift_corrects_and_the_last_step_is_corrected_after_the_end(played):
    async def play(browser):
        await browser.click("#step")
        await browser.until("view.step === 1")
        await key(browser, "keyDown", "@", "Digit2", modifiers=8)  # as a keyboard says it
        await browser.until("document.getElementById('kept').textContent.startsWith('1 step is corrected')")
        await browser.click("#step")
        await browser.until("view.over")
        assert await browser.value("document.querySelector('#actions button').disabled")
        await browser.click("#correct")
        await browser.value("document.querySelectorAll('#actions button')[2].click()")
        await browser.until("document.getElementById('kept').textContent.startsWith('2 steps are corrected')")

    assert played(play).labels.tolist() == [1, 2]
