"""How fast the policy acts, compared with policies that read their whole window at every step: `make benchmark`.

All act in the same environments with untrained weights, in turns within one run, once their windows are full. "plain"
is what one would write with transformers' own CLIP and OPT: the last M steps at every step; "sliding" is that with our
modules and weights; "same windows" reads exactly what ours sees; "exported" is ours as an ONNX policy (float32, in
onnxruntime), one environment after the other. Each way acts with one thread and with one for each core, and the table
has its better rate, the environments' time in it. The ratios are of acting alone, in seconds of the processor with one
thread, which say more than the clock on a machine that does other things too.
Prints the tables of tests/benchmarks/acting.md and writes that file. With --short it is `tiny` in PyTorch with one
thread, in fewer rounds.
"""

import os
import sys
import tempfile
import time
from collections import defaultdict
from functools import wraps
from itertools import product
from pathlib import Path

import numpy as np
import torch
from transformers import CLIPVisionModel, OPTModel

import agentgym
from agentgym.experiments.onnx_export import write_policy
from agentgym.model.agent import AgentModel
from agentgym.model.presets import make_config
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import pad_left, tokenize, train_tokenizer
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.observations import read_observation
from agentgym.policies.onnx_runtime.onnx_policy import OnnxPolicy
from agentgym.recipes import FrameRecipe
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

TASK = "BabyAI-GoToRedBall-v0"
SHORT = "--short" in sys.argv
# Preset, M, environments, pixels a cell; 24 steps is the window of the agents of BabyAI that ship.
CASES = [("tiny", 9, 32, 8), ("tiny", 24, 32, 8), ("tiny", 9, 1, 8), ("tiny", 24, 1, 8), ("paper", 4, 1, 32)]
CASES = [case for case in CASES if case[0] == "tiny" or not SHORT]
PLAIN = ("plain", "sliding", "same windows")
NAMES = ("ours", "exported", *PLAIN)
EXPORTED = set() if SHORT else {"tiny"}  # as a graph `paper` takes a gigabyte, and is nothing for the edge
THREADS = [1] if SHORT else sorted({1, os.cpu_count() or 1})
CYCLES = {("tiny", 32): 1 if SHORT else 4, ("tiny", 1): 4, ("paper", 1): 1}  # of the window, in a round
ROUNDS = 5


class WholeWindow:
    """The plain way: raw frames are kept, all of them are encoded and read again at every step."""

    def __init__(self, policy, tokenizer, *, slides):
        self._policy, self._tokenizer, self._slides = policy, tokenizer, slides
        self._window = policy.model.config.window

    def encode(self, frames):
        return self._policy.model.encode(frames)

    def read(self, instruction, mask, visual, actions):
        return self._policy.model.read(instruction, mask, visual, actions)

    @torch.inference_mode()
    def predict(self, observation, state):
        model = self._policy.model
        latest, texts, _ = read_observation(observation, self._policy.domain.frame_shape)
        frames, actions = state or (latest[:, None][:, :0], np.zeros((len(latest), 0, 1), np.int64))
        if frames.shape[1] == self._window:
            first = 1 if self._slides else self._window - SlidingWindow(self._window).kept
            frames, actions = frames[:, first:], actions[:, first:]
        frames = np.concatenate([frames, latest[:, None]], axis=1)
        padded = np.concatenate([actions, np.zeros((len(latest), 1, 1), np.int64)], axis=1)
        visual = self.encode(torch.from_numpy(frames).flatten(0, 1)).unflatten(0, frames.shape[:2])
        words = (torch.from_numpy(each) for each in pad_left([tokenize(self._tokenizer, text) for text in texts]))
        layout, hidden = self.read(*words, visual, torch.from_numpy(padded))
        logits = model.logits(layout.predicts_actions(hidden)[:, -1, 0])[:, model.config.num_text_tokens :]
        tokens = logits.argmax(-1, keepdim=True).numpy()
        return self._policy.codec.decode_series(tokens), (frames, np.concatenate([actions, tokens[:, None]], axis=1))


class Plain(WholeWindow):
    """The same with transformers' own modules, of random weights."""

    def __init__(self, policy, tokenizer):
        super().__init__(policy, tokenizer, slides=True)
        self._model, config = policy.model, policy.model.config
        self._vision, self._language = CLIPVisionModel(config.vision_config), OPTModel(config.language_config)
        self._vision.eval(), self._language.eval()

    def encode(self, frames):
        encoder = self._model.vision_encoder
        pixels = (frames.permute(0, 3, 1, 2).float() / 255 - encoder.mean) / encoder.std
        return self._model.projector(self._model.merge(self._vision(pixels).last_hidden_state[:, 1:]))

    def read(self, instruction, mask, visual, actions):
        layout, embedded = self._model.embed(instruction, visual, actions)
        mask = torch.cat([mask, mask.new_ones(len(mask), embedded.shape[1] - mask.shape[1])], dim=1)
        return layout, self._language(inputs_embeds=embedded, attention_mask=mask, use_cache=False).last_hidden_state


class Ours:
    """The policy as it is."""

    def __init__(self, policy):
        self._policy = policy

    def predict(self, observation, state):
        return self._policy.predict(observation, state, deterministic=True)


class Exported:
    """The policy as a graph: one session for each number of threads."""

    def __init__(self, policy):
        with tempfile.TemporaryDirectory() as folder:
            write_policy(policy, Path(folder))
            self._by_threads = {each: OnnxPolicy(Path(folder) / "policy.onnx", threads=each) for each in THREADS}

    def predict(self, observation, state):
        return self._by_threads[torch.get_num_threads()].predict(observation, state, deterministic=True)


class World:
    """Environments without end: an episode that ends begins again within the same history."""

    def __init__(self, environments, tile_size):
        self.envs = [agentgym.make(TASK, frame=FrameRecipe(tile_size=tile_size)) for _ in range(environments)]
        self.observations = [env.reset(seed=seed)[0] for seed, env in enumerate(self.envs)]

    def observation(self):
        return {key: np.stack([each[key] for each in self.observations]) for key in self.observations[0]}

    def step(self, actions):
        for i, (env, action) in enumerate(zip(self.envs, actions, strict=True)):
            self.observations[i], _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                self.observations[i] = {**env.reset()[0], "instruction": self.observations[i]["instruction"]}


def play(actor, world, state, steps, spent):
    """The state after those steps; adds the seconds in the environments, and the processor's in acting, to `spent`."""
    for _ in range(steps):
        observation, began = world.observation(), time.process_time()
        actions, state = actor.predict(observation, state)
        spent["acting"] += time.process_time() - began
        began = time.perf_counter()
        world.step(actions)
        spent["environment"] += time.perf_counter() - began
    return state


def timed(function, name, spent):
    """The function, its seconds added to spent[name]."""

    @wraps(function)
    def run(*arguments, **keywords):
        began = time.perf_counter()
        result = function(*arguments, **keywords)
        spent[name] += time.perf_counter() - began
        return result

    return run


def make_policy(preset, window, tile_size):
    env = agentgym.make(TASK, frame=FrameRecipe(tile_size=tile_size))
    codec = SpaceCodec.of(env.action_space, env.action_names)
    tokenizer = train_tokenizer(
        [bytes(env.reset(seed=i)[0]["instruction"]).decode().rstrip("\0") for i in range(9)], codec.tokens
    )
    torch.manual_seed(0)
    config = make_config(
        preset,
        num_text_tokens=len(tokenizer) - codec.num_tokens,
        instruction_tokens=64,
        domains=[Domain(codec, (7 * tile_size, 7 * tile_size), window, (TASK,))],
        frame_side=7 * tile_size,
    )
    return AgentPolicy(AgentModel(config), tokenizer), tokenizer


def measure(preset, window, environments, tile_size):
    """By way and threads the env-steps a second of the clock, and those of acting alone; where ours spends its time."""
    policy, tokenizer = make_policy(preset, window, tile_size)
    ways = {
        "ours": Ours(policy),
        **({"exported": Exported(policy)} if preset in EXPORTED else {}),
        "plain": Plain(policy, tokenizer),
        "sliding": WholeWindow(policy, tokenizer, slides=True),
        "same windows": WholeWindow(policy, tokenizer, slides=False),
    }
    worlds = {name: World(environments, tile_size) for name in ways}
    spent = defaultdict(float)
    states = {name: play(way, worlds[name], None, window, spent) for name, way in ways.items()}
    cycle = window - SlidingWindow(window).kept
    steps = CYCLES[preset, environments] * cycle  # whole cycles of the window: every round has its moves
    rates = defaultdict(list)
    for _ in range(ROUNDS):
        for (name, way), threads in product(ways.items(), THREADS):
            torch.set_num_threads(threads)
            began, spent["acting"] = time.perf_counter(), 0.0
            states[name] = play(way, worlds[name], states[name], steps, spent)
            taken = time.perf_counter() - began, spent["acting"]
            rates[name, threads].append([environments * steps / seconds for seconds in taken])
    torch.set_num_threads(1)
    played = ways["ours"], worlds["ours"], states["ours"]
    shares = find_shares(policy, lambda: play(*played, ROUNDS * steps, spent), spent)
    return {key: np.median(each, axis=0) for key, each in rates.items()}, shares


def find_shares(policy, play_on, spent):
    """Which share of the seconds of `play_on` goes where."""
    spent.clear()
    policy.model.encode = timed(policy.model.encode, "encoder", spent)
    policy.model.language_model.forward = timed(policy.model.language_model.forward, "language model", spent)
    began = time.perf_counter()
    play_on()
    total = time.perf_counter() - began
    return {name: spent[name] / total for name in ("environment", "encoder", "language model")}


def said(rate_and_threads):
    rate, threads = rate_and_threads
    return f"{rate:,.1f} ({threads})"


def beside(rates, name):
    """How many times the rate of each plain way, in acting alone."""
    return ", ".join(f"{rates[name, 1][1] / rates[other, 1][1]:.2f}" for other in PLAIN)


def main():
    lines = [
        f"Env-steps a second (threads), medians of {ROUNDS} rounds in turns; torch {torch.__version__}, "
        f"at most {THREADS[-1]} threads. Ratios: of acting alone, to plain, sliding and same windows, in seconds of "
        f"the processor with one thread.{' The short form (--short).' if SHORT else ''}",
        "",
        "| preset | M | environments | plain | sliding | same windows | ours | ratios | exported | ratios |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    places = [
        "",
        "Where ours spends its time, with one thread:",
        "",
        "| preset | M | environments | environment | encoder | language model | rest |",
        "|---|---|---|---|---|---|---|",
    ]
    for preset, window, environments, tile_size in CASES:
        rates, shares = measure(preset, window, environments, tile_size)
        measured = [name for name in NAMES if (name, 1) in rates]
        best = {name: max((rates[name, threads][0], threads) for threads in THREADS) for name in measured}
        cells = [preset, window, environments, *(said(best[name]) for name in PLAIN)]
        cells += [said(best["ours"]), beside(rates, "ours")]
        cells += [said(best["exported"]), beside(rates, "exported")] if "exported" in best else ["", ""]
        lines.append(f"| {' | '.join(map(str, cells))} |")
        parts = " | ".join(f"{share:.0%}" for share in (*shares.values(), 1 - sum(shares.values())))
        places.append(f"| {preset} | {window} | {environments} | {parts} |")
    text = "\n".join(lines + places) + "\n"
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
