"""The base install records, trains and scores; whatever else is missing is named with its extra."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from refusals import refusal

from agentgym.extras import needs

ROOT = Path(__file__).parent.parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]

# What the base install lacks (pygame comes with minigrid); `import` of one of them fails in the programs below.
BLOCKED = (
    "stable_baselines3",
    "matplotlib",
    "imageio",
    "imageio_ffmpeg",
    "tensorboard",
    "onnx",
    "onnxruntime",
    "fastapi",
)
BLOCKED += ("fastapi", "uvicorn", "starlette", "ray", "minari", "h5py", "ale_py", "minatar", "prometheus_client")


def run_without(packages, program):
    block = f"import sys; sys.modules.update(dict.fromkeys({packages!r}))\n"
    result = subprocess.run([sys.executable, "-c", block + program], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_base_install_imports_what_recording_training_and_scoring_need():
    modules = ["cli.main", "experts.collection", "experiments.imitation", "evaluation.scoring", "report.run_page"]
    run_without(BLOCKED, "\n".join(f"import agentgym.{module}" for module in modules))


@pytest.mark.parametrize(
    ("extra", "package", "program"),
    [
        ("sb3", "stable_baselines3", "import agentgym.policies.sb3"),
        ("sb3", "stable_baselines3", "import agentgym.experiments.ppo"),
        ("report", "imageio_ffmpeg", "import agentgym.report.video"),
        ("onnx", "onnx", "from agentgym.experiments import onnx_export; onnx_export._require_onnx()"),
        ("ray", "ray", "from agentgym import executors; executors.start('ray').__enter__()"),
        ("atari", "ale_py", "import agentgym; agentgym.make('ALE/Pong-v5')"),
        ("minatar", "minatar.gym", "import agentgym; agentgym.make('MinAtar/Breakout-v1')"),
    ],
)
def test_a_missing_package_is_one_line_that_names_its_extra(extra, package, program):
    caught = "from agentgym.errors import UserError\ntry:\n    {}\nexcept UserError as error:\n    print(error)"
    line = run_without((package,), caught.format(program))
    assert line.endswith(f"needs {package.split('.')[0]}; pip install 'agentgym-ifm[{extra}]'")
    assert extra in EXTRAS


def test_a_module_of_ours_that_is_missing_is_no_matter_of_extras():
    with pytest.raises(ModuleNotFoundError), needs("report", what="it"):
        import agentgym.nothing  # noqa: F401


def test_all_has_every_extra_and_what_the_error_names_is_what_is_installed():
    (everything,) = EXTRAS["all"]
    named = set(everything.removeprefix("agentgym-ifm[").removesuffix("]").split(","))
    assert named == set(EXTRAS) - {"all", "dev", "docs", "trackio", "wandb", "mlflow"}
    assert 'needs("' in (ROOT / "agentgym" / "policies" / "sb3" / "__init__.py").read_text()


def test_the_error_is_a_users():
    def load():
        with needs("report", what="drawing"):
            import nothing_of_that_name  # noqa: F401

    assert refusal(load) == "drawing needs nothing_of_that_name; pip install 'agentgym-ifm[report]'"
