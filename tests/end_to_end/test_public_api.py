"""What `import agentgym` offers: lazily, typed, and known to Gymnasium."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import experiment_recipe

import agentgym
from agentgym.registration import IDS

PACKAGE = Path(agentgym.__file__).parent


def run(program):
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.mark.parametrize("name", agentgym.__all__)
def test_every_name_is_offered_and_listed(name):
    assert getattr(agentgym, name) is not None
    assert name in dir(agentgym)


def test_a_name_that_is_not_offered_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'agentgym' has no attribute 'nothing'"):
        agentgym.nothing  # noqa: B018  # reading it is the test


def test_a_type_checker_sees_every_name():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name for node in ast.walk(block) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen | {"__version__"} == set(agentgym.__all__)
    assert (PACKAGE / "py.typed").is_file()


def test_the_import_is_quick_because_it_imports_nothing_heavy():
    assert run("import sys, agentgym; print({'numpy', 'gymnasium', 'torch', 'pydantic'} & set(sys.modules))") == "set()"


def test_the_help_is_quick_because_it_imports_nothing_heavy():
    heavy = "{'numpy', 'gymnasium', 'torch', 'transformers', 'joblib', 'pyarrow', 'scipy', 'jinja2', 'fsspec'}"
    program = "import sys, typer.testing, agentgym.cli.main as m; typer.testing.CliRunner().invoke(m.app, ['--help'])"
    assert run(f"{program}; print({heavy} & set(sys.modules))") == "set()"


def test_recording_and_scoring_by_name_import_no_torch():
    names = set(agentgym.__all__) - {
        "AgentActorCriticPolicy",
        "HistoryObservation",
        "AgentModel",
        "AgentPolicy",
        "train",
    }
    program = f"import sys, agentgym; [getattr(agentgym, name) for name in {sorted(names)}]"
    assert run(f"{program}; agentgym.make('BabyAI-GoToLocal-v0'); print('torch' in sys.modules)") == "False"


@pytest.mark.parametrize("imports", ["import agentgym, gymnasium", "import gymnasium, agentgym"])
def test_gymnasium_makes_every_task_by_its_id_in_the_namespace(imports):
    program = "env = gymnasium.make('agentgym/BabyAI-GoToLocal-v0'); print(env.reset(seed=3)[0]['frame'].shape)"
    assert run(f"{imports}; {program}") == "(56, 56, 3)"


def test_the_registered_ids_are_those_of_the_installed_packages():
    code = "from agentgym.environments import task_ids; print(*task_ids())"  # alone: other tests register their own
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert IDS.read_text().split() == found.split()


def test_the_functions_do_what_the_verbs_do(tmp_path):
    recipe = experiment_recipe()
    outcomes = agentgym.collect(recipe.dataset, tmp_path / "data", workers=1)
    assert sum(outcomes.values()) == recipe.dataset.episodes
    trained = agentgym.train(recipe, tmp_path / "data", tmp_path / "run")
    assert trained["updates"] == recipe.training.updates
    assert agentgym.train(recipe, tmp_path / "data", tmp_path / "run") == trained  # nothing is done again

    found = agentgym.evaluate(tmp_path / "run", episodes=2, videos=0, workers=1)
    task = recipe.dataset.suite.tasks[0].id
    assert [scored["task"] for scored in found["tasks"]] == [task]
    first_seed = recipe.evaluation.first_seed
    policy = agentgym.load_policy(tmp_path / "run")
    played = agentgym.rollout(policy, task, seeds=range(first_seed, first_seed + 2), frame=recipe.dataset.suite.frame)
    assert sum(result.success for result in played) / 2 == found["tasks"][0]["success_rate"]
    assert agentgym.compare(tmp_path / "run", tmp_path / "run").difference == 0
