"""One training loop: schedules, exact resume, what is logged, and what stops it."""

import dataclasses
import json
import math
import types

import pytest
import torch
from tiny import experiment_recipe, model_of, sources_of

from agentgym.errors import UserError
from agentgym.recipes import ColourJitter, PartRates
from agentgym.training import loop as training_loop
from agentgym.training.batches import batches_of
from agentgym.training.checkpoints import seconds_spent
from agentgym.training.loop import Loop, train
from agentgym.training.metrics import MetricLogger, read_metrics
from agentgym.training.optimizer import convolves_in_bfloat16, learning_rate, parameter_groups, uses_bfloat16


@pytest.fixture(scope="module")
def dataset(demonstrations):
    return demonstrations


@pytest.fixture
def loop(dataset, tmp_path):
    recipe = experiment_recipe()
    source, held_out = sources_of(dataset)
    return Loop(recipe.training, recipe.losses, source, {"small": held_out}, tmp_path)


def fresh_model(dataset):
    torch.manual_seed(0)
    return model_of(dataset)


def with_recipe(loop, **changes):
    return dataclasses.replace(loop, recipe=loop.recipe.model_copy(update=changes))


def test_the_learning_rate_rises_linearly_then_falls_as_a_cosine():
    recipe = experiment_recipe("training.updates=12", "training.learning_rate=1.0").training
    assert [learning_rate(update, recipe) for update in (1, 2)] == [0.5, 1.0]
    assert learning_rate(7, recipe) == pytest.approx(0.5)
    assert learning_rate(12, recipe) == pytest.approx(0.0)


def test_only_matrices_decay_and_frozen_positions_are_left_out(dataset):
    model = fresh_model(dataset)
    decayed, others = (group["params"] for group in parameter_groups(model, 0.1))
    assert all(parameter.ndim >= 2 for parameter in decayed)
    assert any(parameter is model.language_model.embeddings.weight for parameter in others)
    assert len(decayed) + len(others) == sum(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.slow
def test_a_compiled_training_makes_the_same_updates(dataset, loop, tmp_path, monkeypatch):
    """By the compiler's own reading of the step; what it would generate is left out, which takes minutes."""
    expected = train(fresh_model(dataset), dataclasses.replace(loop, path=tmp_path / "plain"))
    compile_step = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model, dynamic: compile_step(model, dynamic=dynamic, backend="eager"))
    found = train(
        fresh_model(dataset), dataclasses.replace(with_recipe(loop, compile=True), path=tmp_path / "compiled")
    )
    for name, weights in expected.state_dict().items():
        assert torch.allclose(found.state_dict()[name], weights, atol=1e-6), name


def test_the_time_of_a_resumed_run_is_that_of_all_its_parts(dataset, loop, tmp_path):
    loop = dataclasses.replace(with_recipe(loop, updates=2, checkpoint_every=1), path=tmp_path)
    train(fresh_model(dataset), loop)
    first = seconds_spent(tmp_path)
    assert first > 0
    (tmp_path / "checkpoints" / "0000002" / "seconds.json").write_text('{"seconds": 5000.0}')
    train(fresh_model(dataset), dataclasses.replace(loop, recipe=loop.recipe.model_copy(update={"updates": 3})))
    assert 5000 < seconds_spent(tmp_path) < 5000 + 100 * first + 60


@pytest.mark.parametrize("optimizer", ["muon", "adamw"])
def test_a_resumed_run_equals_an_uninterrupted_one(dataset, loop, tmp_path, optimizer):
    loop = with_recipe(loop, optimizer=optimizer)
    whole = train(fresh_model(dataset), dataclasses.replace(loop, path=tmp_path / "whole"))

    def stop_at_five(count, note):
        nonlocal done
        done += count
        if done == 5:
            raise KeyboardInterrupt

    done = 0
    halves = dataclasses.replace(loop, path=tmp_path / "halves")
    with pytest.raises(KeyboardInterrupt):
        train(fresh_model(dataset), halves, on_progress=stop_at_five)
    assert [folder.name for folder in (halves.path / "checkpoints").iterdir()] == ["0000003"]
    torch.manual_seed(1)  # other first weights and another random state must not matter
    resumed = train(model_of(dataset), halves)

    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    timeless = [
        [
            {k: v for k, v in line.items() if k != "targets_per_second" and not k.startswith("time/")}
            for line in read_metrics(path)
        ]
        for path in (tmp_path / "whole", halves.path)
    ]
    assert timeless[0] == timeless[1]


def test_the_loss_falls_on_a_few_episodes(dataset, loop):
    train(fresh_model(dataset), with_recipe(loop, updates=40, learning_rate=2e-3, checkpoint_every=100))
    losses = [line["loss/action"] for line in read_metrics(loop.path) if "loss/action" in line]
    assert losses[-1] < 0.6 * losses[0]


def test_every_loss_the_accuracy_the_rate_and_the_rollout_are_logged(dataset, loop):
    train(
        fresh_model(dataset),
        dataclasses.replace(
            loop, rollout=lambda model, index, count: [("success_rate", 1.0), ("success_rate", 0.0), ("return", 7.0)]
        ),
    )
    lines = read_metrics(loop.path)
    assert {"loss/total", "loss/language", "loss/masked_image", "loss/action", "accuracy/action"} <= lines[0].keys()
    assert {"learning_rate", "targets_per_second"} <= lines[0].keys()
    assert (lines[-1]["rollout/success_rate"], lines[-1]["rollout/return"]) == (0.5, 7.0)
    assert {"held_out/loss/action", "held_out/accuracy/action"} <= lines[-1].keys()
    assert list((loop.path / "tensorboard").glob("events.*"))


def test_two_batches_accumulated_equal_one_of_twice_the_size(dataset, loop, tmp_path):
    once = dataclasses.replace(with_recipe(loop, batch_size=8), path=tmp_path / "once")
    twice = dataclasses.replace(with_recipe(loop, batch_size=4, accumulation=2), path=tmp_path / "twice")
    whole, halves = (train(fresh_model(dataset), each).state_dict() for each in (once, twice))
    assert not torch.equal(whole["projector.weight"], fresh_model(dataset).projector.weight)
    for name, tensor in whole.items():
        assert torch.allclose(tensor, halves[name], atol=1e-5), name


def test_no_variable_of_the_environment_changes_the_gradients(dataset, loop, tmp_path, monkeypatch):
    loop = with_recipe(loop, updates=2)
    plain = train(fresh_model(dataset), dataclasses.replace(loop, path=tmp_path / "plain"))
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    told = train(fresh_model(dataset), dataclasses.replace(loop, path=tmp_path / "told"))
    for (name, one), other in zip(plain.named_parameters(), told.parameters(), strict=True):
        assert torch.equal(one, other), name


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_checkpoint(dataset, loop, monkeypatch):
    real = training_loop.forward
    calls = 0

    def explode(*arguments):
        nonlocal calls
        calls += 1
        output, losses = real(*arguments)
        return output, dataclasses.replace(losses, total=losses.total * math.inf) if calls == 5 else losses

    monkeypatch.setattr(training_loop, "forward", explode)
    with pytest.raises(UserError, match=r"update 5: the loss is not finite .* episodes \[\d+") as error:
        train(fresh_model(dataset), loop)
    assert "\n" not in str(error.value)
    assert [folder.name for folder in (loop.path / "checkpoints").iterdir()] == ["0000003"]


def test_a_gradient_that_is_not_finite_stops_the_run_before_a_checkpoint_has_it(dataset, loop, monkeypatch):
    model, calls = fresh_model(dataset), 0

    def explode(gradient):
        nonlocal calls
        calls += 1
        return gradient * math.inf if calls == 6 else gradient  # update 6 would be checkpointed

    model.projector.weight.register_hook(explode)
    with pytest.raises(UserError, match="update 6: the gradient is not finite"):
        train(model, loop)
    assert [folder.name for folder in (loop.path / "checkpoints").iterdir()] == ["0000003"]


def test_a_journal_going_on_forgets_what_lies_beyond_the_checkpoint(tmp_path):
    lines = [{"update": update, "loss/total": 0.1} for update in (1, 2, 3, 4)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"update": 5, "lo')
    told = []
    accelerator = types.SimpleNamespace(
        log_with=[], trackers=[], init_trackers=lambda project: None, log=lambda values, step: told.append(values)
    )
    logger = MetricLogger(accelerator, tmp_path, 2)
    assert [line["update"] for line in read_metrics(tmp_path)] == [1, 2]
    logger.write(3, {"loss/total": 0.1, "loss/action": 0.2})
    logger.write(4, {"loss/total": 0.1})
    logger.write(6, {"loss/total": 0.1})
    logger.close()
    assert told == [{"loss/action": 0.2}, {"loss/total": 0.1}], "trackers have the rest"


def test_precision_auto_is_bfloat16_only_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert uses_bfloat16("auto", 768)
    assert not uses_bfloat16("auto", 128), "narrow layers are quicker in float32"
    assert convolves_in_bfloat16("auto"), "convolutions are not"
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not uses_bfloat16("auto", 768)
    assert not convolves_in_bfloat16("auto")
    assert uses_bfloat16("bfloat16", 128)
    assert not uses_bfloat16("float32", 768)


def test_training_in_bfloat16_gives_a_float32_model_and_finite_losses(dataset, loop):
    model = train(fresh_model(dataset), with_recipe(loop, precision="bfloat16", updates=2))
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    assert all(math.isfinite(line["loss/total"]) for line in read_metrics(loop.path) if "loss/total" in line)


def test_a_part_has_its_own_rate_and_a_rate_of_zero_freezes_it(dataset, loop):
    rates = PartRates(vision=0.0, language=0.5)
    groups = parameter_groups(fresh_model(dataset), 0.1, rates)
    assert [(group["rate"], group["weight_decay"]) for group in groups] == [(1.0, 0.1), (1.0, 0), (0.5, 0.1), (0.5, 0)]
    before = {name: tensor.clone() for name, tensor in fresh_model(dataset).state_dict().items()}
    after = train(fresh_model(dataset), with_recipe(loop, part_rates=rates, updates=2)).state_dict()
    moved = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"projector", "language_model", "mae_decoder"}


def test_gradient_checkpointing_changes_no_weight(dataset, loop, tmp_path):
    loops = [
        dataclasses.replace(with_recipe(loop, gradient_checkpointing=flag, updates=2), path=tmp_path / str(flag))
        for flag in (False, True)
    ]
    kept, computed_again = (train(fresh_model(dataset), each) for each in loops)
    assert computed_again.language_model.transformer.blocks[0].gradient_checkpointing
    assert computed_again.vision_encoder.transformer.blocks[0].gradient_checkpointing
    assert computed_again.mae_decoder.transformer.blocks[0].gradient_checkpointing
    for name, tensor in kept.state_dict().items():
        assert torch.allclose(tensor, computed_again.state_dict()[name], atol=1e-5), name  # other sums, same terms


def test_colours_are_a_function_of_seed_and_place_only(dataset, loop):
    jittered = with_recipe(loop, colour_jitter=ColourJitter())
    whole, resumed, plain = (
        [batch.frames for batch, _ in batches_of(each.recipe, each.source, first=first)]
        for each, first in ((jittered, 0), (jittered, 2), (loop, 0))
    )
    assert all(torch.equal(a, b) for a, b in zip(whole[2:], resumed, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(whole, plain, strict=True))


def test_masks_and_colours_do_not_depend_on_how_an_update_is_cut_into_batches(dataset, loop):
    whole, cut = (
        with_recipe(loop, colour_jitter=ColourJitter(), **sizes)
        for sizes in ({"batch_size": 8}, {"batch_size": 2, "accumulation": 4})
    )
    for one, other in zip(windows_of(whole), windows_of(cut), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def windows_of(loop):
    """The frames and the noise of every window, as they come."""
    return [
        (frames[steps], chances[steps])
        for batch, noise in batches_of(loop.recipe, loop.source, first=0)
        for frames, chances, steps in zip(batch.frames, noise, batch.step_mask, strict=True)
    ]


def test_the_windows_of_an_update_go_into_its_batches_by_length(dataset, loop):
    cut = with_recipe(loop, batch_size=2, accumulation=8, updates=1)
    lengths = [len(frames) for frames, _ in windows_of(cut)]
    assert len(set(lengths)) > 1
    assert lengths == sorted(lengths)
    shares = []
    for rank in range(2):
        share = batches_of(cut.recipe, cut.source, first=0, process=rank, processes=2)
        shares.append([int(batch.step_mask.sum()) for batch, _ in share])
    assert max(abs(one - other) for one, other in zip(*shares, strict=True)) <= 2, "no process waits for another"


def test_the_number_of_loader_workers_changes_no_batch_so_that_a_run_may_resume_with_another(dataset, loop):
    by_one, by_three = (
        list(batches_of(with_recipe(loop, loader_workers=workers).recipe, loop.source, first=first))
        for workers, first in ((1, 0), (3, 2))
    )
    assert len(by_one) == loop.recipe.updates
    for (one, noise), (three, same_noise) in zip(by_one[2:], by_three, strict=True):
        assert one.episodes == three.episodes
        assert torch.equal(one.frames, three.frames)
        assert torch.equal(noise, same_noise)
