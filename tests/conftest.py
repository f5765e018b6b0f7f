"""What the rooms' tests share: two small recorded datasets, read by all and changed by none."""

import signal

import pytest

from agentgym.data.store import EpisodeDataset
from agentgym.experts import collection
from agentgym.recipes import load_dataset


@pytest.fixture(scope="session")
def recipe():
    """Twelve GoToRedBall episodes of the bot."""
    return load_dataset("babyai-goto-redball", ["episodes=12"])


@pytest.fixture(scope="session")
def recorded(recipe, tmp_path_factory):
    """The folder of those episodes, in three shards, recorded in this process."""
    path = tmp_path_factory.mktemp("recorded") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "CHUNK", 4)
        collection.collect(recipe, path, workers=1)
    return path


@pytest.fixture(scope="session")
def dataset(recorded):
    """Those episodes."""
    return EpisodeDataset(recorded)


@pytest.fixture(scope="session")
def demonstrations(tmp_path_factory):
    """Twenty-four GoToRedBall episodes of the bot, as `tiny.experiment_recipe` trains on."""
    from tiny import record  # torch, which not every test needs

    return record(tmp_path_factory.mktemp("demonstrations") / "data")


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """Ctrl-C reaches the programs that tests start, also where the tests themselves run in the background.

    A shell starts what runs in its background with SIGINT ignored, and that would be inherited.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def hub_server(monkeypatch, tmp_path):
    """A stand-in for the Hub, which huggingface_hub takes for the real one, with a cache of the test's own."""
    import huggingface_hub.constants  # which few tests need
    from hub_stand_in import hub_stand_in

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with hub_stand_in() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_TOKEN", server.token)
        yield server
