"""The direction of imports: every module from rows above its own, and the walls between what acts and what learns."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "agentgym"

ROWS = [
    {
        *("errors", "model.temporal", "model.grounding"),
        *("experts.networks", "exported", "exported.onnx_policy", "exported.example"),
    },
    {"recipes.base", "engines"},
    {"recipes.suites"},
    {"recipes.datasets", "recipes.finetuning"},
    {"recipes.experiments"},
    {"recipes.rounds"},
    {"recipes.loading"},
    {"recipes", "talk", "options", "layout", "action_spaces.numbers"},
    {"action_spaces.nodes"},
    {"action_spaces.spaces", "action_spaces.grammar"},
    {"action_spaces.codec"},
    {"action_spaces"},
    {
        *("action_series", "domains", "environments.task", "environments.tiles", "environments.views"),
        *("environments.pixels", "environments.openings"),
    },
    {"environments.minigrid", "environments.minatar", "environments.atari", "environments.generic"},
    {
        *("environments", "samples", "store.blocks", "store.steps", "store.files", "store.samples"),
        *("store.columns", "store.parity"),
        *("model.vision", "model.blocks", "model.tokenizer"),
        *("augmentation", "draws", "history", "action_batches", "observation", "scores", "next_action", "acting"),
    },
    {"store.format", "store.structure", "deviations", "episode_draft", "sampled_onnx"},
    {"store.shard"},
    {
        *("store.writer", "store.dataset", "model.agent", "experts.babyai", "experts.random", "experts.trained"),
        *("experts.outcomes", "experts.planner.world"),
        *("experts.atari.arrival", "experts.atari.crossing", "experts.atari.search"),
    },
    {"store.checking", "store.composing", "experts.planner.search", "experts.atari.paddles", "experts.atari.simulator"},
    {"store", "experts.planner.missions", "experts.atari.ram", "experts.atari.planner"},
    {"experts.planner.planning", "experts.atari"},
    {"experts.planner.expert"},
    {"experts.planner"},
    {
        *("model.presets", "model.reading", "model.step", "model.adapting", "experts", "recorder"),
        *("vector_recorder", "windows", "pictures", "videos", "comparison", "report.words"),
        *("episodes", "seeded_environments", "exchange.spaces"),
    },
    {
        *("losses", "optimisation", "collection", "exchange.minari", "exchange.hub", "model.pretrained", "viewing"),
        *("reproducing", "explaining", "writing", "window_reading", "captions", "mixing", "survey_journal"),
    },
    {"one_domain", "captioning", "journal", "report.folder", "report.standings", "report.curves", "report.failures"},
    {"report.films"},
    {"report.page"},
    {"report.comparing", "tables"},
    {"report", "training", "policy", "rollouts", "launching", "parts", "expert_rollouts"},
    {"runs", "publish", "players", "held_out", "sb3.window", "watching", "expert_training", "survey"},
    {"sb3.restoring"},
    {"sb3.features"},
    {"sb3.policy"},
    {"sb3"},
    {"sessions", "experts.agent", "plans"},
    {"films", "playing", "task_scores"},
    {"evaluation", "playground", "play", "edge", "finetuning", "exchange", "dagger"},
    {"rounds", "rounds_page", "finetuning_page"},
    {"data_verbs", "expert_verbs", "play_verbs", "result_verbs", "stages"},
    {"stage_verbs", "run_verbs"},
    {"cli"},
    {"__main__"},
]
ROW = {module: number for number, row in enumerate(ROWS) for module in row}

DOORS = {  # imported where they are called: AgentModel.from_pretrained_parts, and the expert `agent:PATH`
    "model.agent": {"model.pretrained"},
    "experts": {"experts.agent"},
}

WITHOUT_TORCH = [
    "recipes",
    "environments",
    "store",
    "recorder",
    "vector_recorder",
    "experts",
    "collection",
    "scores",
    "comparison",
    "rollouts",
    "expert_rollouts",
    "engines",
    "survey",
]
WITHOUT_GYMNASIUM = ["model.agent", "model.presets", "model.tokenizer", "losses", "windows", "training"]


def modules():
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")
        if name not in ("__init__", "model"):  # the package's door, and an empty file
            yield name, file


def imports(file):
    """The modules of agentgym that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("agentgym."):
            found.add(node.module.removeprefix("agentgym."))
        elif isinstance(node, ast.ImportFrom) and node.module == "agentgym":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("agentgym.") for alias in node.names if "agentgym." in alias.name}
    return found


@pytest.mark.parametrize(("module", "file"), list(modules()), ids=lambda value: value if isinstance(value, str) else "")
def test_a_module_imports_from_rows_above_its_own(module, file):
    assert module in ROW, f"{module} has no row: give it one"
    wrong = {name for name in imports(file) if ROW.get(name, len(ROWS)) >= ROW[module]} - DOORS.get(module, set())
    assert not wrong, f"{module} imports {wrong}, which stand beside or below it"


def test_every_module_of_the_rows_exists():
    assert set(ROW) - {name for name, _ in modules()} == set()


@pytest.mark.parametrize(
    ("names", "library"),
    [(WITHOUT_TORCH, "torch"), (WITHOUT_GYMNASIUM, "gymnasium")],
    ids=["recording and scoring without torch", "model and training without gymnasium"],
)
def test_the_walls_stand(names, library):
    lines = [f"import agentgym.{name}; assert '{library}' not in sys.modules, '{name}'" for name in names]
    result = subprocess.run([sys.executable, "-c", "\n".join(["import sys", *lines])], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
