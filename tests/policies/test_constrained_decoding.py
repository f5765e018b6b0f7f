"""Writing actions token by token: each is valid, whatever the space, and the likeliest one of the training forward."""

import numpy as np
import pytest
import torch
from every_space import SPACES
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from agentgym.environments import encode_instruction
from agentgym.model.agent import AgentModel
from agentgym.model.presets import make_config
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import tokenize, train_tokenizer
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain

M = 3
TEXT = "do what is right"


def policy_of(space, seed, **changes):
    """An untrained agent for a space, which likes some tokens much better than others."""
    codec = SpaceCodec.of(space, bins=5)
    tokenizer = train_tokenizer([TEXT], codec.tokens)
    torch.manual_seed(seed)
    config = make_config(
        "tiny",
        num_text_tokens=len(tokenizer) - codec.num_tokens,
        instruction_tokens=16,
        domains=[Domain(codec, (16, 16), M, ("T",))],
        frame_side=16,
        **changes,
    )
    model = AgentModel(config)
    torch.nn.init.normal_(model.language_model.embeddings.weight, std=1.0)
    return AgentPolicy(model, tokenizer, seed=seed)


def observe(frames):
    said = np.stack([encode_instruction(TEXT, 32)] * len(frames))
    return {"frame": frames, "instruction": said}


@settings(max_examples=25, deadline=None)
@given(space=SPACES, seed=st.integers(0, 2**31))
def test_no_action_that_an_untrained_agent_writes_is_invalid(space, seed):
    policy, state = policy_of(space, seed), None
    frames = np.random.default_rng(seed).integers(0, 256, (M + 2, 2, 16, 16, 3), np.uint8)
    for step, frame in enumerate(frames):
        actions, state = policy.predict(observe(frame), state, deterministic=step % 2 == 0)
        for action in actions:
            assert action in space


def likeliest(policy, frames, taken, text):
    """The likeliest action by the grammar, one whole forward pass for each of its tokens."""
    codec, model = policy.codec, policy.model
    instruction = torch.tensor(tokenize(policy.tokenizer, text))[None]
    window = torch.from_numpy(np.stack(frames))[None]
    ids = []
    while choices := codec.allowed(ids):
        rows = [*taken, ids]
        actions = torch.zeros(1, len(rows), codec.longest, dtype=torch.long)
        there = torch.zeros(1, len(rows), codec.longest, dtype=torch.bool)
        for step, tokens in enumerate(rows):
            actions[0, step, : len(tokens)] = torch.tensor(tokens, dtype=torch.long)
            there[0, step, : len(tokens)] = True
        with torch.no_grad():
            output = model(
                instruction,
                torch.ones_like(instruction),
                window,
                actions,
                torch.ones(window.shape[:2], dtype=torch.bool),
                action_mask=there,
            )
        logits = output.action_logits[0, -1, len(ids), model.config.num_text_tokens :]
        ids.append(choices[int(logits[torch.tensor(choices)].argmax())])
    return ids


@pytest.mark.parametrize("changes", [{}, {"instruction_attention": True}], ids=["plain", "grounded"])
@pytest.mark.parametrize(
    "space",
    [
        spaces.MultiBinary(4),
        spaces.Dict(move=spaces.Box(-1, 1, (2,)), press=spaces.MultiBinary(3)),
        spaces.Tuple([spaces.Discrete(3), spaces.Text(4, charset="ab")]),
    ],
    ids=["buttons", "dict", "text"],
)
def test_actions_of_several_tokens_are_those_of_the_whole_forward_pass(space, changes):
    policy, state = policy_of(space, 0, **changes), None
    frames = np.random.default_rng(0).integers(0, 256, (2 * M + 1, 2, 16, 16, 3), np.uint8)
    past, start = [[], []], 0
    space.seed(0)
    for step, frame in enumerate(frames):
        if step - start == M:
            start = step - SlidingWindow(M).kept
        written, state = policy.predict(observe(frame), state, deterministic=True)
        for row, action in enumerate(written):
            ids = likeliest(policy, [f[row] for f in frames[start : step + 1]], past[row][start:step], TEXT)
            assert policy.codec.encode(action) == ids
        taken = [space.sample() for _ in range(2)]  # another action than the one it chose
        state = policy.executed(state, taken)
        for row, action in enumerate(taken):
            past[row].append(policy.codec.encode(action))
    assert len({len(ids) for row in past for ids in row}) > 1  # of different lengths
