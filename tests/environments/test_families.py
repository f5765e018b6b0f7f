"""Families of environments beyond grid worlds: what decides an episode, what is seen, and what is refused."""

import sys

import gymnasium
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from refusals import refusal

from agentgym import trust
from agentgym.environments import atari_starts, check_seeding, check_suite, decode_instruction, make, task_ids
from agentgym.environments.atari_starts import Opening
from agentgym.recipes import FrameRecipe, SuiteRecipe, TaskRecipe

CARTPOLE = TaskRecipe(id="CartPole-v1", instructions=("balance", "keep it up"), success_return=10.0)
SMALL = FrameRecipe(size=(32, 48))


def frames(env, seed, steps=30):
    """The frames of an episode of random actions."""
    env.action_space.seed(seed)
    shown = [env.reset(seed=seed)[0]["frame"]]
    for _ in range(steps):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        shown.append(observation["frame"])
        if terminated or truncated:
            break
    return np.stack(shown)


class Counter(gymnasium.Env):
    """Shows the number of steps as a picture; ignores its seed when `seeded` is false."""

    observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = gymnasium.spaces.MultiBinary(2)

    def __init__(self, *, seeded=True):
        self._seeded = seeded

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed if self._seeded else None)
        self._start = self.np_random.integers(200)
        return np.full((8, 8, 3), self._start, np.uint8), {}

    def step(self, action):
        self._start += int(np.sum(action))
        return np.full((8, 8, 3), self._start, np.uint8), 1.0, bool(self._start > 200), False, {"is_success": True}


class Blind(Counter):
    """Shows no picture."""

    observation_space = gymnasium.spaces.Discrete(2)


class Unseedable(Counter):
    """Takes no seed."""

    def reset(self):
        return super().reset()


class Broken(Counter):
    """Cannot step."""

    def step(self, action):
        raise RuntimeError("the motor is off\nsince yesterday")


@pytest.fixture(autouse=True)
def registered():
    kinds = (Counter, Blind, Unseedable, Broken)
    for kind in kinds:
        gymnasium.register(f"{kind.__name__}-v0", entry_point=kind)
    yield
    for kind in kinds:
        del gymnasium.registry[f"{kind.__name__}-v0"]


@pytest.mark.parametrize("task", ["MinAtar/Breakout-v1", "MinAtar/Seaquest-v0", "ALE/Breakout-v5", CARTPOLE])
def test_an_episode_is_a_function_of_its_seed_whatever_was_played_before(task):
    fresh, used = make(task, frame=SMALL), make(task, frame=SMALL)
    for seed in (7, 8):
        frames(used, seed)
    assert np.array_equal(frames(fresh, 3), frames(used, 3))
    assert frames(fresh, 3).shape[1:] == (32, 48, 3)
    check_seeding(fresh)


def test_an_action_has_one_name_in_all_games():
    full = {"full_action_space": True}
    pong, boxing = (make(TaskRecipe(id=f"ALE/{game}-v5", arguments=full)) for game in ("Pong", "Boxing"))
    assert len(pong.action_names) == 18
    assert pong.action_names == boxing.action_names
    assert {"noop", "fire", "up"} <= set(pong.action_names)
    assert set(make("MinAtar/SpaceInvaders-v1").action_names) <= set(pong.action_names)
    assert set(make("ALE/Pong-v5").action_names) < set(pong.action_names)


def test_atari_is_played_by_the_standard_protocol():
    ale = make("ALE/Breakout-v5").ale
    assert ale.getFloat("repeat_action_probability") == 0.25
    assert ale.getInt("max_num_frames_per_episode") == 108_000
    env = make("ALE/Breakout-v5")
    env.reset(seed=0)
    frame_number = env.ale.getEpisodeFrameNumber()
    lives, terminated = {env.ale.lives()}, False
    while len(lives) < 3:  # no end at a lost life
        assert not terminated
        _, _, terminated, _, _ = env.step(1)
        lives.add(env.ale.lives())
    assert (env.ale.getEpisodeFrameNumber() - frame_number) % 4 == 0


@pytest.mark.parametrize(
    ("game", "arguments"),
    [
        ("Boxing", {}),
        ("Solaris", {}),  # which looks otherwise when it is begun a second time
        ("Breakout", {"frameskip": (2, 5), "mode": 4, "difficulty": 1}),
    ],
)
def test_an_atari_game_begins_as_if_its_cartridge_were_loaded_with_the_seed(game, arguments):
    recipe = TaskRecipe(id=f"ALE/{game}-v5", arguments=arguments)
    used = make(recipe)
    frames(used, 1, steps=3)
    for seed in (77, 5):  # with 77 the first action is not taken: what came before it sticks
        fresh = make(recipe)
        assert np.array_equal(frames(fresh, seed), frames(used, seed))
        states = [env.ale.cloneState(include_rng=True).serialize() for env in (fresh, used)]
        assert states[0] == states[1]


@pytest.mark.slow
@pytest.mark.parametrize("task", [task for task in task_ids() if task.startswith("ALE/")])
def test_every_atari_game_begins_as_if_its_cartridge_were_loaded_with_the_seed(task):
    used = make(task)
    frames(used, 123, steps=3)
    for seed in (5, 77, 2**31 - 2):
        fresh = make(task)
        assert np.array_equal(frames(fresh, seed, steps=60), frames(used, seed, steps=60))
        assert np.array_equal(fresh.ale.getRAM(), used.ale.getRAM())


def test_an_opening_is_not_used_where_its_form_is_unknown(monkeypatch):
    env = make("ALE/Boxing-v5")
    env.reset(seed=0)
    assert Opening.of(env.ale, 12345) is None  # not the emulator's seed
    monkeypatch.setattr(atari_starts, "AROUND", 0)
    used = make("ALE/Boxing-v5")
    frames(used, 1, steps=3)
    assert np.array_equal(frames(used, 77), frames(make("ALE/Boxing-v5"), 77))


def test_a_frame_with_motion_is_the_grey_screen_and_what_changed_in_the_last_two_steps():
    plain, moving = make("ALE/Breakout-v5"), make("ALE/Breakout-v5", frame=FrameRecipe(motion=True))
    greys = [np.asarray(Image.fromarray(screen).convert("L"), np.int16) for screen in frames(plain, 3)]
    seen = frames(moving, 3)
    assert len(seen) == len(greys) > 20
    for step in range(len(seen)):
        now, before, earlier = (greys[max(0, step - ago)] for ago in range(3))
        assert np.array_equal(seen[step][..., 0], now)
        assert np.array_equal(seen[step][..., 1], np.clip(128 + 8 * (now - before), 0, 255))
        assert np.array_equal(seen[step][..., 2], np.clip(128 + 8 * (before - earlier), 0, 255))
    assert (seen[0][..., 1:] == 128).all()  # nothing has moved yet, whatever the episode before showed
    assert (frames(moving, 4)[0][..., 1:] == 128).all()
    assert make("ALE/Breakout-v5", frame=FrameRecipe(size=(40, 40), motion=True)).frame_shape == (40, 40, 3)


def test_sticky_actions_can_be_switched_off_by_the_recipe():
    still = make(TaskRecipe(id="ALE/Pong-v5", arguments={"repeat_action_probability": 0.0}))
    assert still.ale.getFloat("repeat_action_probability") == 0.0
    assert refusal(make, TaskRecipe(id="ALE/Pong-v5", arguments={"stickyness": 0.0})).startswith(
        "ALE/Pong-v5: it does not take its `arguments` (stickyness): "
    )


def test_the_wording_of_an_instruction_is_chosen_by_the_seed():
    env = make(CARTPOLE, frame=SMALL)
    said = [decode_instruction(env.reset(seed=seed)[0]["instruction"]) for seed in range(4)]
    assert said == ["balance", "keep it up", "balance", "keep it up"]
    assert "pong" in decode_instruction(make("ALE/Pong-v5").reset(seed=0)[0]["instruction"])


def test_success_is_a_return_that_the_recipe_names():
    def ends(success_return):
        env = make(CARTPOLE.model_copy(update={"success_return": success_return, "limit": 12}), frame=SMALL)
        env.reset(seed=0)
        done, steps = False, 0
        while not done:
            _, _, terminated, truncated, info = env.step(steps % 2)
            done, steps = terminated or truncated, steps + 1
        return steps, truncated, info["is_success"]

    assert ends(12.0) == (12, True, True)
    assert ends(13.0) == (12, True, False)


def test_an_environment_that_shows_pictures_and_says_success_is_taken_at_its_word():
    env = make(TaskRecipe(id="Counter-v0", instructions=("count",)))
    shown = frames(env, 1, steps=400)
    assert env.frame_shape == (8, 8, 3)
    assert env.action_names is None
    assert shown[-1][0, 0, 0] > 200
    assert env.defines_success
    assert not make("MinAtar/Breakout-v1").defines_success


def test_what_cannot_be_recorded_is_refused():
    assert refusal(make, "CartPole-v1") == (
        "CartPole-v1: it has no language of its own; give its task `instructions` in a suite's recipe"
    )
    assert refusal(make, TaskRecipe(id="Blind-v0", instructions=("look",))) == (
        "Blind-v0: has no frames: its observation is Discrete(2) and it has no rgb_array render mode"
    )
    unseeded = make(TaskRecipe(id="Counter-v0", instructions=("count",), arguments={"seeded": False}))
    assert refusal(check_seeding, unseeded).startswith("Counter-v0: two episodes of one seed differ")


def test_an_environment_that_takes_no_seed_or_cannot_be_played_is_refused_in_a_line():
    unseedable, broken = (make(TaskRecipe(id=f"{name}-v0", instructions=("go",))) for name in ("Unseedable", "Broken"))
    assert refusal(check_seeding, unseedable).startswith("Unseedable-v0: its reset takes no seed")
    line = "Broken-v0: cannot be played: RuntimeError: the motor is off; fix the environment"
    assert refusal(check_seeding, broken) == line


def test_an_environment_of_a_module_is_imported_with_it(monkeypatch, tmp_path):
    module = (
        "import gymnasium\ngymnasium.register('Mine-v0', entry_point='gymnasium.envs.classic_control:CartPoleEnv')\n"
    )
    (tmp_path / "of_mine.py").write_text(module)
    monkeypatch.syspath_prepend(tmp_path)
    task = TaskRecipe(id="of_mine:Mine-v0", instructions=("balance",))
    monkeypatch.setattr(trust, "_grant", trust.typed(["of_mine:Mine-v0", "of_nobody:Mine-v0"]))
    assert make(task).task == "of_mine:Mine-v0"
    missing = TaskRecipe(id="of_nobody:Mine-v0", instructions=("balance",))
    assert "No module named 'of_nobody'; install it" in refusal(make, missing)


def test_a_limit_takes_the_place_of_the_environments_own():
    env = make(TaskRecipe(id="Pendulum-v1", instructions=("swing",), limit=210), frame=SMALL)
    env.reset(seed=0)
    ends = [env.play(env.action_space.sample()).truncated for _ in range(210)]
    assert ends == [False] * 209 + [True]


def test_a_recipe_that_cannot_be_is_refused_in_one_line():
    def names(task, *given):
        return refusal(make, TaskRecipe(id=task, instructions=("go",), action_names=given))

    assert names("CartPole-v1", "left") == (
        "CartPole-v1: 1 `action_names` for Discrete(2); a Discrete space takes one an action"
    )
    assert "2 `action_names` for Box" in names("Pendulum-v1", "a", "b")
    for text in ("", " ", "x" * 257):
        with pytest.raises(ValidationError, match="expected instructions of 1 to 256 bytes"):
            TaskRecipe(id="CartPole-v1", instructions=(text,))
    assert refusal(make, "CartPol-v1").endswith("did you mean 'CartPole-v1'?")
    assert "lacks the pattern files" in refusal(make, "MiniGrid-WFC-MazeSimple-v0")
    gone = refusal(make, TaskRecipe(id="Ant-v5", instructions=("walk",)))
    assert gone.startswith("Ant-v5: cannot be made: ")
    assert "\n" not in gone


def test_a_setting_that_does_not_fit_a_family_is_refused():
    def problem(task, **frame):
        return refusal(check_suite, SuiteRecipe(name="mine", description="", frame=FrameRecipe(**frame), tasks=[task]))

    assert problem({"id": "MinAtar/Breakout-v1"}, tile_size=8) == (
        "suite mine: key 'frame.tile_size': frames of MinAtar/Breakout-v1 have no 'tile_size'; theirs are set by 'size'"
    )
    assert problem({"id": "BabyAI-GoTo-v0"}, size=(8, 8)).endswith("theirs are set by 'view' and 'tile_size'")
    assert problem({"id": "ALE/Pong-v5", "action_names": ("a",)}) == (
        "suite mine: key 'tasks.0.action_names': ALE/Pong-v5 names its actions itself; remove the key"
    )


@pytest.mark.parametrize(
    ("task", "module", "extra"),
    [("MinAtar/Asterix-v1", "minatar.gym", "minatar"), ("ALE/Pong-v5", "ale_py", "atari")],
)
def test_a_missing_package_is_named_by_its_extra(task, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    for name in [name for name in gymnasium.registry if name.startswith("MinAtar/")]:
        monkeypatch.delitem(gymnasium.registry, name)
    assert refusal(make, task).endswith(f"pip install 'agentgym-ifm[{extra}]'")
