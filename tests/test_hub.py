"""Pushing to the Hub and pulling from it, against a stand-in for its HTTP API on this machine."""

import pytest
from typer.testing import CliRunner

from agentgym import environments, hub
from agentgym.cli.main import app
from agentgym.data.store import EpisodeDataset, sample_dataset
from agentgym.errors import UserError
from agentgym.evaluation.policy_registry import resolve_policy
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.agents import shipped_agents


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "folder"
    (folder / "model").mkdir(parents=True)
    (folder / "recipe.json").write_text("{}")
    (folder / "model" / "model.safetensors").write_bytes(bytes(range(256)) * 20)
    return folder


def files_of(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file()}


def test_a_folder_that_was_pushed_is_pulled_as_it_was(hub_server, folder):
    hub.upload(folder, "org/agent", message="first")
    assert files_of(hub.download("org/agent")) == files_of(folder)


def test_a_second_push_leaves_no_file_of_the_first_that_it_replaces(hub_server, folder):
    (folder / "shard-000001.arrow").write_bytes(b"old")
    hub.upload(folder, "org/data", "dataset", message="first")
    (folder / "shard-000001.arrow").unlink()
    (folder / "shard-000000.arrow").write_bytes(b"new")
    hub.upload(folder, "org/data", "dataset", message="second")
    assert set(hub_server.files["dataset", "org/data"]) == set(files_of(folder))


def test_a_dataset_goes_up_and_comes_down_by_the_command_line(hub_server, tmp_path):
    run = CliRunner().invoke
    pushed = run(app, ["push", str(sample_dataset()), "org/sample", "--json"])
    assert pushed.exit_code == 0, pushed.output
    card = hub_server.files["dataset", "org/sample"]["README.md"].decode()
    assert "40 episodes" in card
    assert "EpisodeDataset" in card
    pulled = run(app, ["pull", "org/sample", "--dataset", "--to", str(tmp_path / "pulled"), "--quiet"])
    assert pulled.exit_code == 0, pulled.output
    assert EpisodeDataset(tmp_path / "pulled").column("seed") == EpisodeDataset(sample_dataset()).column("seed")
    assert not (tmp_path / "pulled" / ".cache").exists()


def test_an_agent_goes_up_with_a_card_of_its_scores_and_is_loaded_by_the_name_of_its_repository(hub_server, tmp_path):
    name = "babyai-goto-redball"
    pushed = CliRunner().invoke(app, ["push", str(shipped_agents()[name]), "org/redball", "--json"])
    assert pushed.exit_code == 0, pushed.output
    card = hub_server.files["model", "org/redball"]["README.md"].decode()
    assert "| babyai-bot | 100.0%" in card
    ours, theirs = (AgentPolicy.from_pretrained(who, device="cpu") for who in (name, "org/redball"))
    observation, _ = environments.make("BabyAI-GoToRedBall-v0").reset(seed=5)
    assert theirs.predict(observation, deterministic=True)[0] == ours.predict(observation, deterministic=True)[0]
    assert resolve_policy("org/redball").run is not None, "it is scored as a run"
    pulled = CliRunner().invoke(app, ["pull", "org/redball", "--to", str(tmp_path / "pulled"), "--quiet"])
    assert pulled.exit_code == 0, pulled.output
    assert files_of(tmp_path / "pulled") == hub_server.files["model", "org/redball"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda folder: hub.download("org/none"), "no such repository"),
        (lambda folder: hub.upload(folder, "no-organisation", message="m"), "ORGANISATION/NAME"),
        (lambda folder: hub.upload(folder, "org/../agent", message="m"), "ORGANISATION/NAME"),
    ],
)
def test_what_the_hub_does_not_have_is_one_line(hub_server, folder, call, words):
    with pytest.raises(UserError, match=words) as error:
        call(folder)
    assert "\n" not in str(error.value)


def test_a_push_without_a_good_token_says_how_to_log_in(hub_server, folder, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(UserError, match="hf auth login") as error:
        hub.upload(folder, "org/agent", message="m")
    assert "\n" not in str(error.value)
    assert not hub_server.files.get(("model", "org/agent"))


def test_without_a_network_it_is_one_line(folder, monkeypatch, tmp_path):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    for call in (lambda: hub.download("org/agent"), lambda: hub.upload(folder, "org/agent", message="m")):
        with pytest.raises(UserError, match="cannot be reached") as error:
            call()
        assert "\n" not in str(error.value)
