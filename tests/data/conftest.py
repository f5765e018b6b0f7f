"""A small dataset of counted episodes."""

import pytest
from counted import FOUR_EPISODES, counted_header

from agentgym.data.store import (
    DatasetWriter,
)


@pytest.fixture
def path(tmp_path):
    """Four counted episodes in two shards."""
    with DatasetWriter(tmp_path / "data", counted_header()) as writer:
        for i, episode in enumerate(FOUR_EPISODES):
            writer.append(episode)
            if i == 1:
                writer.commit()
    return tmp_path / "data"
