"""Recipes: what is right is loaded whole; what is wrong is one line naming file, key, value and remedy."""

import pytest
from refusals import refusal

from agentgym.recipes import (
    KINDS,
    DatasetRecipe,
    ExperimentRecipe,
    LossRecipe,
    PartRecipe,
    ReferenceRecipe,
    SuiteRecipe,
    TaskRecipe,
    TrainingRecipe,
    describe,
    differences,
    load_dataset,
    load_experiment,
    load_expert,
    load_finetuning,
    load_rounds,
    load_suite,
    load_transfer,
    shipped,
)

LOADERS = {
    "suite": load_suite,
    "dataset": load_dataset,
    "expert": load_expert,
    "experiment": load_experiment,
    "finetuning": load_finetuning,
    "dagger": load_rounds,
    "transfer": load_transfer,
}
SHIPPED = [(kind, path) for kind in KINDS for path in shipped(kind)]

SUITE = """
description = "mine"
[[tasks]]
id = "BabyAI-GoToRedBall-v0"
"""
DATASET = """
description = "mine"
suite = "suite.toml"
expert = "babyai-bot"
episodes = 7
"""
EXPERIMENT = """
description = "mine"
dataset = "data/dataset.toml"
[training]
updates = 3
"""


@pytest.fixture
def own(tmp_path):
    """A user's own experiment, its dataset in a folder beneath it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "suite.toml").write_text(SUITE)
    (tmp_path / "data" / "dataset.toml").write_text(DATASET)
    (tmp_path / "experiment.toml").write_text(EXPERIMENT)
    return tmp_path


def write(path, text):
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(("kind", "path"), SHIPPED, ids=lambda value: getattr(value, "stem", value))
def test_every_shipped_recipe_loads_by_its_name_and_describes_itself(kind, path):
    recipe = LOADERS[kind](path.stem)
    assert recipe.name == path.stem
    assert recipe.description == describe(path)
    assert recipe == LOADERS[kind](str(path))


def test_a_stored_recipe_is_the_recipe():
    for kind, path in SHIPPED:
        recipe = LOADERS[kind](path.stem)
        assert type(recipe).model_validate_json(recipe.model_dump_json()) == recipe


def test_a_users_own_recipe_names_others_relative_to_itself(own):
    recipe = load_experiment(str(own / "experiment.toml"))
    assert (recipe.name, recipe.dataset.name, recipe.dataset.suite.name) == ("experiment", "dataset", "suite")
    assert recipe.dataset.episodes == 7
    assert recipe.dataset.suite.tasks[0].id == "BabyAI-GoToRedBall-v0"


def test_a_users_own_recipe_may_name_a_shipped_one(own):
    write(own / "data" / "dataset.toml", DATASET.replace("suite.toml", "babyai-goto-redball"))
    recipe = load_experiment(str(own / "experiment.toml"))
    assert recipe.dataset.suite == load_suite("babyai-goto-redball")


def test_set_reaches_every_depth_and_goes_through_references(own):
    path = str(own / "experiment.toml")
    recipe = load_experiment(
        path,
        [
            "description=another one",
            "training.betas=[0.5, 0.75]",
            "dataset.episodes=5",
            "dataset.budget.seconds=0.5",
            "dataset.suite.frame.tile_size=4",
            "dataset.suite.tasks.0.id=BabyAI-GoTo-v0",
        ],
    )
    assert recipe.description == "another one"
    assert recipe.training.betas == (0.5, 0.75)
    assert recipe.dataset.episodes == 5
    assert recipe.dataset.budget.seconds == 0.5
    assert recipe.dataset.suite.frame.tile_size == 4
    assert recipe.dataset.suite.tasks[0].id == "BabyAI-GoTo-v0"
    assert recipe.training.updates == load_experiment(path).training.updates


def test_set_changes_nothing_but_its_key(own):
    before = load_experiment(str(own / "experiment.toml")).model_dump()
    after = load_experiment(str(own / "experiment.toml"), ["losses.action=2.5"]).model_dump()
    assert differences(before, after) == ["losses.action: 1.0 -> 2.5"]


def test_set_may_choose_another_reference_and_change_it(own):
    write(own / "other.toml", DATASET.replace("suite.toml", "data/suite.toml"))
    recipe = load_experiment(str(own / "experiment.toml"), ["dataset.episodes=5", "dataset=other.toml"])
    assert (recipe.dataset.name, recipe.dataset.episodes) == ("other", 5)


def test_set_reaches_into_a_table_that_is_in_place_of_a_reference(own):
    inline = DATASET.replace('"suite.toml"', '{name = "s", description = "d", tasks = [{id = "BabyAI-GoTo-v0"}]}')
    recipe = load_dataset(write(own / "inline.toml", inline), ["suite.frame.tile_size=4"])
    assert recipe.suite.frame.tile_size == 4


def test_the_last_set_of_a_key_counts(own):
    recipe = load_dataset(str(own / "data" / "dataset.toml"), ["episodes=1", "episodes=2"])
    assert recipe.episodes == 2


WRONG = {
    "unknown key": (
        "episodes = 7",
        "episods = 7",
        "key 'episods': unknown key (value 7); did you mean 'episodes'?",
    ),
    "wrong type": ("episodes = 7", 'episodes = "7"', "key 'episodes': found '7'; input should be a valid integer"),
    "true is not a number": ("episodes = 7", "episodes = true", "key 'episodes': found True"),
    "out of range": ("episodes = 7", "episodes = 0", "found 0; input should be greater than or equal to 1"),
    "wrong literal": ("episodes = 7", 'episodes = 7\nkeep = "sloved"', "found 'sloved'"),
    "a name": ("episodes = 7", 'episodes = 7\nname = "x"', "key 'name': a recipe is named by its file; remove the key"),
    "bad TOML": ("episodes = 7", "episodes = ", "not valid TOML"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_in_a_file_is_named_with_its_file_and_key(own, wrong):
    right, typo, expected = WRONG[wrong]
    path = own / "data" / "dataset.toml"
    write(path, DATASET.replace(right, typo))
    for line in (refusal(load_dataset, str(path)), refusal(load_experiment, str(own / "experiment.toml"))):
        assert line.startswith(f"{path}: ")
        assert expected in line


def test_a_missing_key_is_named(own):
    path = write(own / "data" / "dataset.toml", DATASET.replace("episodes = 7", ""))
    assert refusal(load_dataset, path) == f"{path}: key 'episodes': missing; add it"


def test_a_wrong_key_in_a_table_is_named_with_the_table(own):
    path = write(own / "experiment.toml", EXPERIMENT + "learning_rte = 0.1\n")
    expected = f"{path}: key 'training.learning_rte': unknown key (value 0.1); did you mean 'learning_rate'?"
    assert refusal(load_experiment, path) == expected


def test_a_wrong_key_of_a_task_is_named_with_its_place(own):
    path = write(own / "suite.toml", SUITE + 'idd = "x"\n')
    assert "key 'tasks.0.idd': unknown key (value 'x'); did you mean 'id'?" in refusal(load_suite, path)


def test_an_unknown_key_that_is_like_none_lists_those_there_are(own):
    path = write(own / "suite.toml", SUITE + "[frame]\nzzz = 1\n")
    assert refusal(load_suite, path).endswith(
        "unknown key (value 1); known keys: camera, motion, size, tile_size, view"
    )


def test_a_wrong_literal_has_a_suggestion():
    line = refusal(load_dataset, "babyai-goto-redball", ["keep=sloved"])
    assert line == "--set: key 'keep': found 'sloved'; input should be 'solved' or 'all'; did you mean 'solved'?"


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_name_has_a_suggestion(kind):
    others = {
        "expert": "minatar",
        "finetuning": "babyai-goto-redball-ppo",
        "dagger": "babyai-goto-local-dagger",
        "transfer": "paper-babyai",
    }
    nearest = others.get(kind, "babyai-goto-redball")
    line = refusal(LOADERS[kind], nearest[:-1])
    assert line == f"no {kind} recipe is named '{nearest[:-1]}'; did you mean '{nearest}'?"


def test_a_name_like_none_says_where_the_names_are():
    assert "'agentgym list' shows them" in refusal(load_suite, "zzz")


def test_a_path_that_is_not_there_is_named(own):
    path = own / "nowhere.toml"
    assert refusal(load_dataset, str(path)) == f"{path}: there is no such dataset recipe"
    write(own / "data" / "dataset.toml", DATASET.replace("suite.toml", "nowhere.toml"))
    line = refusal(load_experiment, str(own / "experiment.toml"))
    assert line == f"{own / 'data' / 'nowhere.toml'}: there is no such suite recipe"


WRONG_SETS = {
    "episodes": "--set episodes: expected key=value, for example --set training.updates=100",
    "=5": "--set =5: expected key=value",
    "episods=5": "--set: key 'episods': unknown key (value 5); did you mean 'episodes'?",
    "episodes=many": "--set: key 'episodes': found 'many'; input should be a valid integer",
    "budgt.seconds=5": "--set: key 'budgt': unknown key (value {'seconds': 5}); did you mean 'budget'?",
    "budget={second=5}": "--set: key 'budget.second': unknown key (value 5); did you mean 'seconds'?",
    "suite.frame.tile_siz=4": "--set: key 'suite.frame.tile_siz': unknown key (value 4); did you mean 'tile_size'?",
    "suite.tasks.1.id=x": "--set tasks.1.id: '1' is not a place in a list of",
    "suite.tasks.first.id=x": "--set tasks.first.id: 'first' is not a place in a list of",
    "episodes.more=5": "--set episodes.more: 'episodes' of",
    "suite=babyai-goto-redbal": "no suite recipe is named 'babyai-goto-redbal'; did you mean 'babyai-goto-redball'?",
    "name=x": "a recipe is named by its file; remove the key",
}


@pytest.mark.parametrize("override", WRONG_SETS)
def test_what_is_wrong_with_a_set_is_named(override):
    assert WRONG_SETS[override] in refusal(load_dataset, "babyai-goto-redball", [override])


def test_published_vision_weights_have_a_stem_of_their_own():
    stem, published = "model.convolutional_stem=true", 'model.init={vision="clip"}'
    line = refusal(load_experiment, "babyai-goto-redball", [stem, published])
    assert "'convolutional_stem' is for an encoder from scratch, and 'init.vision' has a stem" in line


def test_a_mistake_in_a_file_that_set_chose_is_that_files(own):
    wrong = DATASET.replace("suite.toml", "data/suite.toml").replace("episodes = 7", "episodes = 0")
    path = write(own / "other.toml", wrong)
    assert refusal(load_experiment, str(own / "experiment.toml"), ["dataset=other.toml"]).startswith(path)


def test_differences_are_named_by_their_dotted_keys():
    old = {"a": 1, "b": {"c": 2, "d": 3}}
    assert differences(old, old) == []
    assert differences(old, {"a": 1, "b": {"c": 5, "d": 3}, "e": "x"}) == ["b.c: 2 -> 5", "e: None -> 'x'"]


def test_a_recipe_is_a_value():
    recipe = LossRecipe()
    with pytest.raises(Exception, match="frozen"):
        recipe.action = 2.0


def test_a_suite_whose_tasks_another_plays_just_so_is_not_scored_twice():
    suites = {
        "both": [TaskRecipe(id="A-v0"), TaskRecipe(id="B-v0")],
        "same": [TaskRecipe(id="A-v0", reference=ReferenceRecipe(random=0.1, source="a paper"))],
        "shorter": [TaskRecipe(id="A-v0", limit=5)],
    }
    parts = [
        PartRecipe(
            dataset=DatasetRecipe(
                name=name,
                description=name,
                suite=SuiteRecipe(name=name, description=name, tasks=tasks),
                expert="random",
                episodes=1,
            )
        )
        for name, tasks in suites.items()
    ]
    recipe = ExperimentRecipe(name="many", description="many", parts=parts, training=TrainingRecipe(updates=1))
    assert [suite.name for suite in recipe.suites] == ["both", "shorter"]


def test_what_is_recorded_does_not_depend_on_words_or_on_what_is_held_out(own):
    recipe = load_dataset(str(own / "data" / "dataset.toml"))
    recorded = recipe.model_dump(mode="json")
    reworded = recipe.model_copy(update={"description": "yours", "held_out": 0.5})
    assert reworded.changes_since(recorded) == []
    assert recipe.model_copy(update={"episodes": 8}).changes_since(recorded) == ["episodes: 7 -> 8"]
