"""An instruction that several windows share is read once, and nothing that is computed of it changes."""

import pytest
import torch
from small_agent import inputs_of, model_of

from agentgym.model import shared_instructions
from agentgym.model.tokenizer import PAD

EXACT = {"rtol": 1e-9, "atol": 1e-12}
OF_ROW = torch.tensor([1, 0, 1, 1, 0, 1])


@pytest.fixture(autouse=True)
def few_tokens_are_worth_it(monkeypatch):
    monkeypatch.setattr(shared_instructions, "LEAST_SAVED", 1)


def shared_of(inputs):
    """The inputs of six windows, which have only two instructions, the second one shorter."""
    instruction, mask = inputs["instruction"][:2].clone(), inputs["instruction_mask"][:2].clone()
    instruction[1, :2], mask[1, :2] = PAD, 0
    return {**inputs, "instruction": instruction, "instruction_mask": mask, "instruction_of": OF_ROW}


def apart_of(inputs):
    """The same, each window with its own copy."""
    names = ("instruction", "instruction_mask")
    own = {name: inputs[name][OF_ROW] for name in names}
    return {name: own.get(name, value) for name, value in inputs.items() if name != "instruction_of"}


def actions_of(kind):
    """Actions of one token, or of up to two, or labels of two beside them."""
    if kind == "one token":
        return {}
    drawn = torch.Generator().manual_seed(3)
    actions, labels = torch.randint(0, 3, (2, 6, 2, 2), generator=drawn)
    mask = torch.rand(6, 2, 2, generator=drawn) < 0.7
    mask[:, :, 0] = True
    if kind == "up to two tokens":
        return {"actions": actions, "action_mask": mask}
    return {"actions": actions, "action_mask": mask, "labels": labels, "label_mask": mask.flip(0)}


def tokens_read(model, inputs):
    """The output, and how many tokens the language model read for it."""
    read = []
    hook = model.language_model.register_forward_pre_hook(lambda _, given: read.append(given[0].shape[:2].numel()))
    output = model(**inputs)
    hook.remove()
    return output, sum(read)


def backward(model, output, rows):
    """The gradients of a loss in which every window counts what is said and what is done, by parameter."""
    model.zero_grad()
    said = output.language_logits.logsumexp(-1)
    real = torch.ones(2, said.shape[1]).bool()
    real[1, :2] = False
    total = (said * real[rows]).sum() if len(said) == len(rows) else (said * real)[rows].sum()
    (total + output.action_logits.logsumexp(-1).sin().sum()).backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("kind", ["one token", "up to two tokens", "labels"])
def test_reading_it_once_gives_the_same_logits_and_gradients(kind):
    model = model_of().double()
    shared = {**shared_of(inputs_of(batch=6, steps=2)), **actions_of(kind)}
    once, few = tokens_read(model, shared)
    each, many = tokens_read(model, apart_of(shared))
    assert few == many - (6 - 2) * 5
    torch.testing.assert_close(once.action_logits, each.action_logits, **EXACT)
    torch.testing.assert_close(once.language_logits[OF_ROW][:, 2:], each.language_logits[:, 2:], **EXACT)
    torch.testing.assert_close(once.language_logits[0], each.language_logits[1], **EXACT)
    gradients = backward(model, each, OF_ROW)
    for name, gradient in backward(model, once, OF_ROW).items():
        torch.testing.assert_close(gradient, gradients[name], **EXACT, msg=name)


def test_it_is_read_in_every_window_where_that_saves_too_little_or_nothing_is_kept():
    model = model_of()
    long = shared_of(inputs_of(batch=6, steps=10))
    once, read = tokens_read(model, long)
    each, same = tokens_read(model, apart_of(long))
    assert read == same
    torch.testing.assert_close(once.action_logits, each.action_logits)
    torch.testing.assert_close(once.language_logits[OF_ROW][:, 2:], each.language_logits[:, 2:])
    short = shared_of(inputs_of(batch=6, steps=2))
    model.train()
    model.activation_checkpointing_enable()
    assert tokens_read(model, short)[1] == tokens_read(model, apart_of(short))[1]
