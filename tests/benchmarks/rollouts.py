"""How fast an evaluation plays, compared with its environment and its policy by themselves: `make benchmark`.

    python tests/benchmarks/rollouts.py runs/babyai-goto-redball

Alone, an environment does the actions of the same episodes, one after another without any batch, and a policy sees the
same observations in batches that are always full: the two times together are the least that the episodes could take.
All three are timed in turns within one run, by the processor's time of one thread and by the clock. Prints
tests/benchmarks/rollouts.md and writes that file.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

from agentgym import environments
from agentgym.evaluation import policy_registry
from agentgym.evaluation.rollouts import rollout
from agentgym.training.run_folder import read_recipe

ROUNDS = 3
EPISODES = 500
CLOCKS = {"processor": time.process_time, "clock": time.perf_counter}


class Watched:
    """A policy, and what it was asked."""

    def __init__(self, policy):
        self._policy, self.asked = policy, []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.asked.append(({key: value.copy() for key, value in observation.items()}, episode_start.copy()))
        return self._policy.predict(observation, state, episode_start, deterministic)


class ByFrame:
    """A policy that costs next to nothing, so that what remains is the rollout's own."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        return observation["frame"][:, ::7, ::7].sum(axis=(1, 2, 3)) % 3, state


def play(policy, recipe, seeds, rows):
    """The episodes, as an evaluation plays them."""
    task, frame = recipe.dataset.suite.tasks[0], recipe.dataset.suite.frame
    return rollout(policy, task, frame=frame, seeds=seeds, num_environments=rows, deterministic=True)


def step_alone(episodes, recipe):
    """The environment does the actions of those episodes."""
    env = environments.make(recipe.dataset.suite.tasks[0], frame=recipe.dataset.suite.frame)
    for episode in episodes:
        env.reset(seed=episode.seed)
        for action in episode.actions:
            env.step(action)


def act_alone(policy, full, steps, rows):
    """The policy acts on full batches, as often as `steps` need."""
    state = None
    for number in range(round(steps / rows)):
        observation, starts = full[number % len(full)]
        _, state = policy.predict(observation, state, starts, deterministic=True)


def full_batches(policy, recipe, seeds, rows):
    """What a policy is asked while no row rests: observations, and whose episodes begin."""
    watched = Watched(policy)
    episodes = play(watched, recipe, seeds, rows)
    begun, full = 0, []
    for observation, starts in watched.asked:
        begun += int(starts.sum())
        if begun > len(seeds):
            break
        full.append((observation, starts))
    return episodes, full


def measure(policy, recipe, episodes, rows):
    """By clock, the median seconds of the rollout and of both parts alone; and the steps there were."""
    seeds = range(recipe.evaluation.first_seed, recipe.evaluation.first_seed + episodes)
    played, full = full_batches(policy, recipe, seeds, rows)
    steps = sum(episode.length for episode in played)
    parts = {
        "rollout": lambda: play(policy, recipe, seeds, rows),
        "environment": lambda: step_alone(played, recipe),
        "policy": lambda: act_alone(policy, full, steps, rows),
    }
    spent = {(clock, part): [] for clock in CLOCKS for part in parts}
    for _ in range(ROUNDS):
        for part, work in parts.items():
            began = {clock: read() for clock, read in CLOCKS.items()}
            work()
            for clock, read in CLOCKS.items():
                spent[clock, part].append(read() - began[clock])
    return {key: statistics.median(values) for key, values in spent.items()}, steps


def lines(name, seconds, steps):
    """The rows of the table."""
    for clock in CLOCKS:
        rates = {part: steps / seconds[clock, part] for part in ("environment", "policy", "rollout")}
        allowed = steps / (seconds[clock, "environment"] + seconds[clock, "policy"])
        yield (
            f"| {name} | {clock} | {rates['environment']:,.0f} | {rates['policy']:,.0f} | {allowed:,.0f} | "
            f"{rates['rollout']:,.0f} | {rates['rollout'] / allowed:.0%} |"
        )


def main(run):
    torch.set_num_threads(1)
    recipe = read_recipe(run)
    agent = policy_registry.load(policy_registry.resolve_policy(str(run)), sampled=False)
    count, rows = EPISODES, recipe.evaluation.environments
    cases = [(f"{run.name}, {rows} at once", agent, rows), (f"a policy of one sum, {rows} at once", ByFrame(), rows)]
    table = [
        "# Rollouts",
        "",
        f"Steps a second over {count} episodes of {recipe.dataset.suite.tasks[0].id}, medians of {ROUNDS} rounds in "
        "turns, one thread; by the processor's time and by the clock. `allowed`: the environment and the policy alone, "
        "one after the other, the policy in batches that are always full. Made by `make benchmark`.",
        "",
        "| policy | measured by | environment alone | policy alone | allowed | rollout | of what is allowed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, policy, at_once in cases:
        table += lines(name, *measure(policy, recipe, count, at_once))
        print(table[-2], table[-1], sep="\n", flush=True)
    Path(__file__).with_suffix(".md").write_text("\n".join(table) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
