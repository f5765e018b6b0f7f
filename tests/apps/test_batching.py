"""Calls of many clients: answered together, each with its own history, one's mistake is not another's."""

import threading
from concurrent.futures import wait

import numpy as np
import pytest

from agentgym.apps.batching import Batcher, Call, ClientSession
from agentgym.errors import UserError


class Counting:
    """A policy whose action is the sum of the brightest pixels that a row has seen in its episode."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()

    def predict(self, observation, state, episode_start, deterministic):
        self.gate.wait(5)
        frames = observation["frame"]
        if (frames == 255).any():
            raise UserError("a frame is too bright")
        self.batches.append(len(frames))
        before = np.zeros(len(frames), int) if state is None else np.where(episode_start, 0, state)
        after = before + frames.reshape(len(frames), -1).max(1)
        return after.copy(), after

    def select(self, state, rows):
        return state[rows]

    def join(self, states):
        return np.concatenate(states)


def call(session, *values, starts=None):
    frames = np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    observation = {"frame": frames, "instruction": np.zeros((len(values), 4), np.uint8)}
    return Call(session, observation, np.zeros(len(values), bool) if starts is None else np.array(starts), True)


@pytest.fixture
def policy():
    return Counting()


@pytest.fixture
def batcher(policy):
    batcher = Batcher(lambda task: policy, wait_s=0.0)
    yield batcher
    batcher.close()


def together(policy, batcher, calls):
    """Their answers, computed in as few batches as the batcher makes of calls that all wait."""
    policy.gate.clear()
    plug = batcher.ask(call(ClientSession(), 0))  # holds the thread until all others wait
    answers = [batcher.ask(each) for each in calls]
    policy.gate.set()
    wait([plug, *answers], timeout=10)
    return [answer.result().tolist() for answer in answers]


def test_each_session_has_its_own_history_whatever_it_is_batched_with(policy, batcher):
    a, b, c = ClientSession(), ClientSession(), ClientSession()
    assert together(policy, batcher, [call(a, 1), call(b, 10, 20)]) == [[1], [10, 20]]
    assert together(policy, batcher, [call(b, 1, 1), call(c, 7)]) == [[11, 21], [7]]
    assert together(policy, batcher, [call(c, 1), call(a, 1), call(b, 1, 1)]) == [[8], [2], [12, 22]]
    assert together(policy, batcher, [call(b, 5, 5, starts=[True, False])]) == [[5, 27]]


def test_calls_that_wait_are_answered_in_one_batch(policy, batcher):
    together(policy, batcher, [call(ClientSession(), 1) for _ in range(8)])
    assert max(policy.batches) >= 8  # the first call may wait with them


def test_the_mistake_of_one_is_not_that_of_others(policy, batcher):
    good, bad = ClientSession(), ClientSession()
    policy.gate.clear()
    plug = batcher.ask(call(ClientSession(), 0))
    one, other = batcher.ask(call(good, 3)), batcher.ask(call(bad, 255))
    policy.gate.set()
    assert one.result(10).tolist() == [3]
    with pytest.raises(UserError, match="too bright"):
        other.result(10)
    assert plug.result(10).tolist() == [0]
    assert (good.calls, bad.calls) == (1, 0)
