"""Evaluations of two tasks."""

import pytest
from tiny import TASK

from agentgym.evaluation.protocol import configure_evaluation
from agentgym.evaluation.scoring import evaluate


@pytest.fixture
def suite(tmp_path):
    """Two tasks, one of them with what others reached on it."""
    file = tmp_path / "two.toml"
    reference = '[tasks.reference]\nrandom = 0.1\nexpert = 0.8\nsource = "a paper"\n'
    file.write_text(f'description = "two"\n[[tasks]]\nid = "{TASK}"\n{reference}[[tasks]]\nid = "BabyAI-GoToObj-v0"\n')
    return str(file)


@pytest.fixture
def scored(tmp_path, suite):
    """Scores WHO on two levels of each task of the suite."""

    def score(who, to="scored", workers=1, engine="processes", references=None, **changes):
        config = configure_evaluation(
            str(who), to=tmp_path / to, **{"suite": suite, "episodes": 2, "environments": 2, **changes}
        )
        return evaluate(config, workers=workers, engine=engine, references=references)

    return score
