"""Training on existing datasets: one by its folder, whatever made it, or several with weights."""

import gymnasium
import numpy as np
import pytest
import torch
from counted import counted_episode
from refusals import refusal
from tiny import TASK, experiment_recipe

from agentgym.data.store import DatasetWriter, EpisodeDataset, Header, select
from agentgym.environments.generic import GenericTask
from agentgym.errors import UserError
from agentgym.evaluation import caption_generation, protocol, scoring
from agentgym.evaluation import held_out as held_out_module
from agentgym.evaluation.held_out import score_captions
from agentgym.experiments import imitation
from agentgym.experts.agent import AgentExpert
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.recipes import LossRecipe
from agentgym.spaces import SpaceCodec
from agentgym.training.captions import shown_frames
from agentgym.training.datasets import CAPTION, adopt, adopt_dataset, open_parts
from agentgym.training.first_model import first_model, window_config_of
from agentgym.training.losses import compute_losses
from agentgym.training.run_folder import open_run
from agentgym.training.sources import sources_of
from agentgym.training.windows import split_episodes


@pytest.fixture(scope="module")
def folders(demonstrations, tmp_path_factory):
    """Twenty-four episodes, and the better half of them."""
    good = tmp_path_factory.mktemp("mixture") / "good"
    median = float(np.median(demonstrations.column("total_reward")))
    select(demonstrations.path, good, min_return=median)
    return demonstrations.path, good


def mixture_of(folders, weights=(1.0, 3.0)):
    parts = ", ".join(f'{{data="{folder}", weight={weight}}}' for folder, weight in zip(folders, weights, strict=True))
    return experiment_recipe("training.updates=2", f"mixture=[{parts}]")


def test_a_mixture_is_trained_on_and_its_evaluation_knows_every_part(folders, tmp_path):
    recipe, run = mixture_of(folders), tmp_path / "run"
    open_run(run, recipe)
    imitation.train_run(recipe, tmp_path / "not-recorded", run)
    assert (run / "model" / "model.safetensors").is_file()
    config = protocol.configure_evaluation(str(run))
    assert protocol.check_seed_overlap(config) == ", ".join(map(str, folders))
    seed = EpisodeDataset(folders[1]).column("seed")[0]
    overlapping = protocol.configure_evaluation(str(run), first_seed=seed)
    assert "overlap the demonstrations'" in refusal(protocol.check_seed_overlap, overlapping)


def test_a_recipe_without_a_mixture_says_nothing_of_one():
    assert "mixture" not in experiment_recipe().model_dump(mode="json")


def test_a_selected_dataset_is_trained_on_once_it_is_named(folders):
    recipe = experiment_recipe()
    assert "was recorded by another recipe" in refusal(open_parts, folders[1], recipe)
    adopted = adopt_dataset(recipe, folders[1])
    assert adopted.dataset.name == "good"
    assert len(open_parts(folders[1], adopted)[0].dataset) == len(EpisodeDataset(folders[1]))


def test_a_part_that_is_not_there_is_refused(folders, tmp_path):
    recipe = mixture_of((folders[0], tmp_path / "none"))
    assert "there is no such dataset folder" in refusal(open_parts, tmp_path, recipe)


@pytest.fixture(scope="module")
def buttons(tmp_path_factory):
    """Episodes of other actions, larger frames and another task."""
    path = tmp_path_factory.mktemp("buttons") / "data"
    space = SpaceCodec.of(gymnasium.spaces.MultiBinary(3), ["left", "jump", "pickup"])
    recipe = {"name": "buttons", "suite": {"tasks": [{"id": "Press-v0"}]}}
    with DatasetWriter(path, Header(space, (20, 24, 3), recipe)) as writer:
        for seed in range(8):
            generator = np.random.default_rng(seed)
            frames = generator.integers(0, 256, (6, 20, 24, 3), np.uint8)
            pressed = generator.integers(0, 2, (5, 3), np.int8)
            writer.append(counted_episode(seed, steps=5, frames=frames, actions=pressed, task="Press-v0"))
    return path


@pytest.fixture(scope="module")
def mixed(folders, buttons):
    """Acting in two worlds and captioning one of them, as parts, a model and windows."""
    parts = [
        f'{{data="{folders[0]}"}}',
        f'{{data="{buttons}", window=2}}',
        f'{{data="{folders[0]}", caption=true, window=6}}',
    ]
    recipe = experiment_recipe("training.updates=2", f"mixture=[{', '.join(parts)}]")
    opened = open_parts(folders[0], recipe)
    torch.manual_seed(0)
    model, tokenizer = first_model(recipe, opened)
    return recipe, opened, model, tokenizer


@pytest.mark.parametrize(("overrides", "side"), [((), 20), (("model.complete_frames=true",), 24)])
def test_frames_that_are_not_square_fit_by_themselves(buttons, overrides, side):
    recipe = experiment_recipe(f'mixture=[{{data="{buttons}"}}]', *overrides)
    model, _ = first_model(recipe, open_parts(buttons, recipe))
    assert model.frame_side == side  # of 20x24


def test_a_part_that_holds_out_all_its_episodes_is_refused(folders):
    recipe = experiment_recipe(f'mixture=[{{data="{folders[0]}"}}, {{data="{folders[1]}", held_out=0.999}}]')
    parts = open_parts(folders[0], recipe)
    model, tokenizer = first_model(recipe, parts)
    said = refusal(sources_of, parts, window_config_of(model, tokenizer))
    assert "a share of 0.999 holds out all of its" in said
    assert said.startswith(parts[1].name)


def test_names_are_shared_and_every_domain_is_remembered(mixed):
    _, _, model, _ = mixed
    acting, pressing, words = model.config.all_domains()
    assert (acting.tasks, acting.window, acting.frame_shape) == ((TASK,), 4, (56, 56))
    assert (pressing.tasks, pressing.window, pressing.frame_shape) == (("Press-v0",), 2, (20, 24))
    assert (words.tasks, words.window) == ((CAPTION,), 6)
    assert words.space == SpaceCodec.words(model.config.num_text_tokens)
    assert model.config.action_tokens == [*acting.space.tokens, "<action:jump>", "<action_start>", "<action_end>"]


def test_a_mixed_batch_is_its_rows_one_by_one(mixed):
    _, parts, model, tokenizer = mixed
    source, _ = sources_of(parts, window_config_of(model, tokenizer))
    ends = np.cumsum([len(each) for each in source.sources])
    rows = np.array([ends[1], 0, ends[0], ends[1] + 1, 1])
    batch = source.batch(rows)
    assert batch.frames.shape[2:] == (56, 56, 3)
    together = model.eval()(**batch.inputs)
    losses = compute_losses(together, batch, LossRecipe())
    totals = []
    for place, row in enumerate(rows):
        alone = source.batch(np.array([row]))
        output = model(**alone.inputs)
        totals.append(compute_losses(output, alone, LossRecipe()))
        there = alone.target_mask if alone.target_mask is not None else torch.ones_like(alone.targets, dtype=torch.bool)
        steps, length = there.shape[1:]
        torch.testing.assert_close(
            together.action_logits[place, :steps, :length][there[0]], output.action_logits[0][there[0]]
        )
    assert losses.total.item() == pytest.approx(np.mean([each.total.item() for each in totals]), rel=1e-5)
    assert losses.action.count == sum(each.action.count for each in totals)
    assert losses.correct == sum(each.correct for each in totals)


def test_one_agent_plays_each_world_with_its_own_actions(mixed):
    _, _, model, tokenizer = mixed
    policy = AgentPolicy(model, tokenizer)
    acting, pressing, _ = policy.domains
    assert policy.playing(acting.space, TASK) is policy
    presser = policy.playing(pressing.space, "Press-v0")
    shapes = {"frame": np.zeros((2, 20, 24, 3), np.uint8), "instruction": np.zeros((2, 8), np.uint8)}
    state = None
    for _ in range(5):  # through a moving window
        pressed, state = presser.predict(shapes, state)
        assert pressed.shape == (2, 3)
        assert set(pressed.ravel()) <= {0, 1}
    with pytest.raises(UserError, match="its actions are up; the agent was trained for"):
        policy.playing(SpaceCodec.discrete(("up",)), "Other-v0")


def test_an_agent_as_expert_plays_the_domain_of_the_task_at_hand(mixed, tmp_path):
    _, _, model, tokenizer = mixed
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expert = AgentExpert(str(tmp_path))
    task = GenericTask.__new__(GenericTask)  # pressing is the agent's second domain
    task.task, task.action_space = "Press-v0", gymnasium.spaces.MultiBinary(3)
    task.action_names = ("left", "jump", "pickup")
    task.frame_shape = (20, 24, 3)
    expert.check(task)
    expert.start(task, seed=0)
    pressed = expert.act({"frame": np.zeros((20, 24, 3), np.uint8), "instruction": np.zeros(8, np.uint8)})
    assert pressed.shape == (3,)


def test_captions_are_words_and_are_scored_beside_the_majority(mixed, tmp_path):
    _, parts, model, tokenizer = mixed
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    (scored,) = score_captions(tmp_path, parts[2].dataset, 0.25)
    assert scored["task"] == TASK
    assert scored["majority"]["answer"].endswith("red ball")
    _, held_out = split_episodes(parts[2].dataset, 0.25)
    texts = [parts[2].dataset.column("instruction")[episode] for episode in held_out]
    assert scored["majority"]["exact_match"] == pytest.approx(texts.count(scored["majority"]["answer"]) / len(texts))
    assert scored["majority"]["exact_match"] < scored["majority"]["word_accuracy"] < 1


def test_an_agent_whose_first_part_is_captioned_is_scored_by_the_parts_in_which_it_acts(folders, tmp_path):
    parts = [f'{{data="{folders[1]}", {rest}}}' for rest in ("caption=true", "window=2", "window=3")]
    recipe = adopt(experiment_recipe(f"mixture=[{', '.join(parts)}]"))
    open_run(tmp_path, recipe)
    opened = open_parts(folders[1], recipe)
    model, tokenizer = first_model(recipe, opened)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    (tmp_path / "training.json").write_text("{}")
    found = scoring._score_held_out(protocol.configure_evaluation(str(tmp_path)))
    _, held_out = split_episodes(opened[0].dataset, 0.25)
    steps = int(opened[0].dataset.lengths[held_out].sum())
    assert [(part["part"], part["actions"]) for part in found["held_out"]] == [("good", steps), ("good 2", steps)]
    assert {"part": "good", **found["next_action"]} == found["held_out"][0]
    assert [task["task"] for task in found["captions"]] == [TASK]
    windows = [held_out_module._domain_of(model, part.dataset, part.window).window for part in opened[1:]]
    assert windows == [2, 3]


def test_captions_are_scored_word_by_word():
    said = caption_generation.score(["go to the red ball", "pick up a key"], ["go to a red ball", "pick up a key"])
    assert said == {"exact_match": 0.5, "word_accuracy": 8 / 9}
    assert caption_generation.score(["go"], ["go on"])["word_accuracy"] == 0.5


def test_the_shown_frames_are_evenly_spaced_and_have_the_first_and_the_last():
    assert shown_frames(3, 8).tolist() == [0, 1, 2]
    assert shown_frames(9, 3).tolist() == [0, 4, 8]
