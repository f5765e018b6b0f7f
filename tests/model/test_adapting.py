"""An agent with other actions: what it knew stays, bit by bit."""

import torch
from tiny import TASK, model_of, tokenizer_of

from agentgym.environments import encode_instruction
from agentgym.model.adapting import TABLE, with_domains
from agentgym.model.tokenizer import tokenize
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain


def adapted_to(dataset, codec):
    torch.manual_seed(0)
    model, tokenizer = model_of(dataset), tokenizer_of(dataset)
    return model, tokenizer, *with_domains(model, tokenizer, [Domain(codec, (56, 56), 4, ("t",))])


def test_new_names_get_new_rows_and_every_other_number_stays(dataset):
    codec = SpaceCodec.discrete(("forward", "jump", "left"), 5)
    model, tokenizer, adapted, its_tokenizer = adapted_to(dataset, codec)
    text, before, after = model.config.num_text_tokens, model.state_dict(), adapted.state_dict()
    assert {name for name in before if not torch.equal(before[name], after[name])} == {TABLE}
    known = len(before[TABLE])
    assert torch.equal(after[TABLE][:known], before[TABLE])
    assert len(after[TABLE]) == known + 1 == len(its_tokenizer)
    assert its_tokenizer.convert_ids_to_tokens(known) == "<action:jump>"
    assert adapted.config.action_tokens == [*model.config.action_tokens, "<action:jump>"]
    assert not (after[TABLE][known] == before[TABLE][text:]).all(1).any()
    for instruction in {*dataset.column("instruction"), "a text that it has never seen"}:
        assert tokenize(its_tokenizer, instruction).tolist() == tokenize(tokenizer, instruction).tolist()


def test_what_it_could_play_it_plays_as_before(dataset):
    model, tokenizer, adapted, its_tokenizer = adapted_to(dataset, SpaceCodec.discrete(("jump", "duck"), 5))
    episode, space = dataset[0], dataset.header.space
    observation = {"frame": episode.frames[0], "instruction": encode_instruction(episode.instruction)}
    before, after = AgentPolicy(model, tokenizer), AgentPolicy(adapted, its_tokenizer).playing(space, TASK)
    assert before.predict(observation, deterministic=True)[0] == after.predict(observation, deterministic=True)[0]
    assert [domain.tasks for domain in adapted.config.all_domains()] == [("t",), (TASK,)]


def test_a_domain_of_the_same_actions_and_other_frames_stays_beside_the_new_one(dataset):
    torch.manual_seed(0)
    space = dataset.header.space
    tokenizer = tokenizer_of(dataset)
    adapted, tokenizer = with_domains(model_of(dataset), tokenizer, [Domain(space, (80, 80), 4, ("large",))])
    again, tokenizer = with_domains(adapted, tokenizer, [Domain(space, (80, 80), 2, ("larger",))])
    large, small = again.config.all_domains()
    assert (large.frame_shape, large.window, set(large.tasks)) == ((80, 80), 2, {"large", "larger"})
    assert (small.frame_shape, small.tasks) == ((56, 56), (TASK,))
    policy = AgentPolicy(again, tokenizer)
    assert policy.fitted(space, (56, 56, 3), TASK).domain == small
    assert policy.fitted(space, (56, 56, 3), "a task of neither").domain == small
    assert policy.fitted(space, (80, 80, 3), "a task of neither").domain == large


def test_it_is_saved_and_acts_with_the_new_actions(dataset, tmp_path):
    *_, adapted, tokenizer = adapted_to(dataset, SpaceCodec.discrete(("jump", "left"), 5))
    adapted.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    policy = AgentPolicy.from_pretrained(tmp_path)
    assert policy.codec.root == SpaceCodec.discrete(("jump", "left"), 5).root
    episode = dataset[0]
    observation = {"frame": episode.frames[0], "instruction": torch.zeros(8, dtype=torch.uint8).numpy()}
    assert policy.predict(observation)[0] in (5, 6)


def test_the_same_actions_change_nothing(dataset):
    codec = dataset.header.space
    model, tokenizer, adapted, its_tokenizer = adapted_to(dataset, codec)
    assert adapted is model
    assert its_tokenizer is tokenizer
