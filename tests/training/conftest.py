"""What trainings are of."""

import pytest


@pytest.fixture(scope="session")
def data(demonstrations):
    """The folder of the demonstrations."""
    return demonstrations.path
