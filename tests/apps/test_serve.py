"""A served policy: the actions of the local one, for many clients at once; what is wrong is one line to who sent it."""

import json
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
import uvicorn
from refusals import refusal
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny import TASK, model_of, tokenizer_of
from websockets.sync.client import connect

import agentgym
from agentgym.apps.batching import ClientSession
from agentgym.apps.policy_server import MAX_ROWS, Limits, PolicyServer, read_call
from agentgym.apps.serve import make_app
from agentgym.client import RemoteError, RemotePolicy, RemoteState, pack
from agentgym.environments import encode_instruction
from agentgym.evaluation.policy_registry import load, load_policy, resolve_policy
from agentgym.evaluation.rollouts import rollout
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import FrameRecipe

STEPS = 9  # more than a window


@pytest.fixture(scope="module")
def dataset(demonstrations):
    return demonstrations


@pytest.fixture(scope="module")
def policy(dataset):
    torch.manual_seed(0)
    return AgentPolicy(model_of(dataset), tokenizer_of(dataset))


class Served:
    """A server on a free port of the loopback, for as long as the body runs."""

    def __init__(self, policy, token=None, limits=None):
        self.server = PolicyServer(policy, "small", policy.tasks, limits or Limits())
        config = uvicorn.Config(make_app(self.server, token=token), port=0, log_level="warning")
        self._uvicorn = uvicorn.Server(config)

    def __enter__(self):
        self._thread = threading.Thread(target=self._uvicorn.run, daemon=True)
        self._thread.start()
        while not self._uvicorn.started:
            pass
        self.port = self._uvicorn.servers[0].sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_):
        self._uvicorn.should_exit = True
        self._thread.join()
        self.server.close()

    def get(self, path, **request):
        with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", **request)) as answer:
            return answer.read()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"


@pytest.fixture(scope="module")
def served(policy):
    with Served(policy) as served:
        yield served


def observations(dataset, episode):
    text = encode_instruction(dataset[episode].instruction)
    return [{"frame": frame, "instruction": text} for frame in dataset[episode].frames[:STEPS]]


def actions_of(policy, seen):
    state, chosen = None, []
    for observation in seen:
        action, state = policy.predict(observation, state, deterministic=True)
        chosen.append(int(action))
    return chosen


def test_many_clients_at_once_get_the_actions_of_the_local_policy(served, policy, dataset):
    episodes = range(min(12, len(dataset)))
    expected = [actions_of(policy, observations(dataset, episode)) for episode in episodes]
    found = [None] * len(episodes)

    def play(episode):
        with RemotePolicy(served.url) as remote:
            found[episode] = actions_of(remote, observations(dataset, episode))

    threads = [threading.Thread(target=play, args=(episode,)) for episode in episodes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == expected


def test_a_batch_of_environments_is_one_client_that_may_select_some_of_them(served, policy, dataset):
    seen = [observations(dataset, episode) for episode in range(3)]
    batches = [{key: np.stack([row[step][key] for row in seen]) for key in seen[0][0]} for step in range(4)]
    with RemotePolicy(served.url) as remote:
        ours, theirs = None, None
        for batch in batches[:3]:
            mine, ours = policy.predict(batch, ours, deterministic=True)
            action, theirs = remote.predict(batch, theirs, deterministic=True)
            np.testing.assert_array_equal(action, mine)
        rows = np.array([2, 0])
        ours, theirs = policy.select(ours, rows), remote.select(theirs, rows)
        some = {key: each[rows] for key, each in batches[3].items()}
        starts = np.array([False, True])
        mine, _ = policy.predict(some, ours, starts, deterministic=True)
        np.testing.assert_array_equal(remote.predict(some, theirs, starts, deterministic=True)[0], mine)


def test_a_call_by_http_answers_as_json(served, policy, dataset):
    seen, expected = observations(dataset, 0), actions_of(policy, observations(dataset, 0)[:2])
    message = {"deterministic": True, "session": None}
    for observation, action in zip(seen[:2], expected, strict=True):
        message["observation"] = {"frame": observation["frame"].tolist(), "instruction": dataset[0].instruction}
        answer = json.loads(served.get("/predict", data=json.dumps(message).encode()))
        assert answer["action"] == action
        message = {**message, "session": answer["session"], "calls": answer["calls"]}


def test_health_and_metrics_say_what_was_answered(served, dataset):
    with RemotePolicy(served.url) as remote:
        remote.predict(observations(dataset, 0)[0])
        assert json.loads(served.get("/health"))["clients"] == 1
        assert remote.info["policy"] == "small"
    text = served.get("/metrics").decode()
    assert "agentgym_latency_seconds_bucket" in text
    assert float(next(line.split()[1] for line in text.splitlines() if line.startswith("agentgym_calls_total"))) >= 1


def wrong(**changes):
    observation = {"frame": np.zeros((3, 3, 3), np.uint8), "instruction": "go"}
    return {"op": "predict", "observation": observation, **changes}


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (7, "expected a map"),
        ({"op": "fly"}, "op 'fly'"),
        ({"op": "predict"}, "observation: expected a map"),
        (wrong(), "3"),
        (wrong(observation={"frame": np.zeros((2, 2), np.uint8), "instruction": "go"}), r"\[H, W, 3\]"),
        (wrong(observation={"frame": np.zeros((56, 56, 3), np.float32), "instruction": "go"}), "whole numbers"),
        (wrong(observation={"frame": np.zeros((56, 56, 3), np.uint8), "instruction": 7}), "instruction"),
        (wrong(observation={"frame": np.zeros((56, 56, 3), np.uint8), "instruction": "go" * 500}), "."),
        (wrong(session=99), "session 99 is over"),
        (wrong(session="x"), "is over"),
        (wrong(task="Other-v0"), "task 'Other-v0'"),
        (wrong(deterministic="yes"), "true or false"),
        ({"op": "select", "session": 1, "rows": [0]}, "is over"),
    ],
)
def test_a_message_that_is_wrong_is_answered_in_one_line_and_the_next_one_as_ever(served, dataset, message, words):
    with RemotePolicy(served.url) as remote:
        with pytest.raises(RemoteError, match=words) as error:
            remote._ask(message)
        assert "\n" not in str(error.value)
        remote.predict(observations(dataset, 0)[0])


def test_an_old_state_is_refused(served, dataset):
    first, second = observations(dataset, 0)[:2]
    with RemotePolicy(served.url) as remote:
        _, state = remote.predict(first)
        remote.predict(second, state)
        with pytest.raises(RemoteError, match="2 calls old"):
            remote.predict(second, state)
        with pytest.raises(RemoteError, match="is over"):
            remote.predict(second, RemoteState(99, 1))


def test_without_the_token_nothing_is_answered(policy):
    with Served(policy, token="secret") as served:
        with pytest.raises(RemoteError, match="no policy answers"):
            RemotePolicy(served.url)
        for path in ("/health", "/metrics", "/predict"):
            with pytest.raises(urllib.error.HTTPError, match=r"401|405"):
                served.get(path)
        with RemotePolicy(served.url, token="secret") as remote:
            assert remote.info["status"] == "ok"
        printed = f"http://127.0.0.1:{served.port}/?token=secret"
        with RemotePolicy(printed) as remote:
            assert remote.info["status"] == "ok"
        spec = resolve_policy(f"remote:{printed}")
        assert load(spec, sampled=False) is not None
        assert spec.who == f"remote:{served.url}", "no file has the token"


def test_more_clients_than_the_limit_are_refused_and_a_place_is_free_again(policy):
    with Served(policy, limits=Limits(clients=1)) as served:
        with RemotePolicy(served.url), pytest.raises(RemoteError, match="no policy answers"):
            RemotePolicy(served.url)
        for _ in range(50):
            try:
                RemotePolicy(served.url).close()
                break
            except RemoteError:
                threading.Event().wait(0.05)
        else:
            pytest.fail("the place of the client that left is not free")


def test_a_body_that_is_too_long_is_refused(policy):
    with (
        Served(policy, limits=Limits(body=1000)) as served,
        pytest.raises(urllib.error.HTTPError, match="400") as error,
    ):
        served.get("/predict", data=pack({"x": b"0" * 2000}), headers={"content-type": "application/msgpack"})
    assert "longer than 1000 bytes" in error.value.read().decode()


def test_a_served_policy_is_scored_as_the_local_one(served, policy, tmp_path):
    def played(who):
        found = rollout(who, "BabyAI-GoToRedBall-v0", frame=FrameRecipe(), seeds=range(4), num_environments=3)
        return [(episode.seed, episode.actions) for episode in found]

    assert played(load_policy(f"remote:{served.url}")) == played(policy)


def test_stable_baselines3_scores_a_served_policy_as_the_local_one(served, policy):
    found = []
    with RemotePolicy(served.url) as remote:
        for each in (remote, policy):
            rows = DummyVecEnv([lambda: Monitor(agentgym.make(TASK))] * 2)
            rows.seed(100)
            found.append(evaluate_policy(each, rows, n_eval_episodes=2, return_episode_rewards=True))
    assert found[0] == found[1]


class Verbose:
    """A policy of long answers, which cannot be compressed."""

    domains, tasks = (), ()
    said = np.random.default_rng(0).random((1, 100_000))

    def predict(self, observation, state, episode_start, deterministic):
        return self.said, None


def test_a_client_that_takes_no_answer_is_let_go_and_delays_no_other():
    quiet = {"max_queue": 1, "close_timeout": 0.1}
    with Served(Verbose(), limits=Limits(idle_s=0.5)) as served, connect(f"{served.url}/ws", **quiet) as silent:
        for _ in range(60):
            silent.send(pack(wrong()))
        with RemotePolicy(served.url) as other:
            for _ in range(5):
                began = time.monotonic()
                assert len(other.predict(wrong()["observation"])[0]) == 100_000
                assert time.monotonic() - began < 5
        for _ in range(200):
            if served.server.clients == 0:
                break
            time.sleep(0.05)
        assert served.server.clients == 0, "the silent one is still there"


def test_a_call_has_no_more_environments_than_a_server_answers_at_once(policy):
    frames = np.zeros((MAX_ROWS + 1, 1, 1, 3), np.uint8)
    message = {"observation": {"frame": frames, "instruction": "go"}}
    assert "1025 environments; a call has at most 1024" in refusal(read_call, message, ClientSession())
    server = PolicyServer(policy, "small", policy.tasks)
    assert server.longest == 2**20 + MAX_ROWS * (56 * 56 * 3 + 256)
    server.close()
