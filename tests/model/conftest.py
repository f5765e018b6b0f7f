"""The small agent, made once for a file of tests."""

import pytest
from small_agent import model_of


@pytest.fixture(scope="module")
def model():
    return model_of()
