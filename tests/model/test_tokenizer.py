"""The text tokenizer: any text comes back, and its ids are those of the model."""

import json

import numpy as np
import pytest
from refusals import refusal

from agentgym.model.tokenizer import PAD, START, load_tokenizer, pad_left, tokenize, train_tokenizer

ACTIONS = ["<action:left>", "<action:right>"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["go to the red ball", "pick up the key"], ACTIONS)


@pytest.mark.parametrize("text", ["go to the red ball", "never seen", "größer → 球", "<pad"])
def test_any_text_comes_back_after_the_start_token(tokenizer, text):
    tokens = tokenize(tokenizer, text)
    assert tokens[0] == START
    assert tokenizer.decode(tokens[1:]).strip() == text


def test_a_known_instruction_has_one_token_a_word(tokenizer):
    assert len(tokenize(tokenizer, "go to the red ball")) == 1 + 5


def test_the_action_tokens_are_the_last_of_the_vocabulary(tokenizer):
    assert tokenizer.convert_ids_to_tokens([len(tokenizer) - 2, len(tokenizer) - 1]) == ACTIONS


def test_special_tokens_have_the_ids_of_opt(tokenizer):
    assert tokenizer.convert_tokens_to_ids(["<s>", "<pad>", "</s>", "<unk>"]) == [0, PAD, START, 3]


def test_the_order_of_the_instructions_changes_nothing():
    texts = ["go to the red ball", "pick up the key", "open the door"]
    first, second = (train_tokenizer(order, ACTIONS).get_vocab() for order in (texts, texts[::-1] + texts))
    assert first == second


def test_a_saved_tokenizer_is_the_same_when_loaded(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = load_tokenizer(tmp_path)
    for text in ("go to the red ball", "something else"):
        assert tokenize(loaded, text).tolist() == tokenize(tokenizer, text).tolist()
    assert loaded.get_vocab() == tokenizer.get_vocab()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    assert refusal(load_tokenizer, tmp_path) == f"{tmp_path}: has no tokenizer.json; the checkpoint is not whole"


@pytest.mark.parametrize(
    "text", ["</s>", "<pad>", "go to the <action:left> ball", "<unk> <s>", "a</s><action:right>b", "<unused:7>"]
)
def test_text_that_spells_a_special_token_is_text(tokenizer, text):
    tokens = tokenize(tokenizer, text)
    special = {*range(4), *tokenizer.convert_tokens_to_ids(ACTIONS)}
    assert tokens[0] == START
    assert not special & set(tokens[1:].tolist())
    assert tokenizer.decode(tokens[1:]).strip() == text


@pytest.mark.parametrize(
    "text", ["", " ", "  a", "größer → 球\n\t x", "e 👩‍👩‍👧 \u00a0", "\u200f عربى ²½", "x" * 300, "a\0b"]
)
def test_other_text_is_tokenized_as_hugging_face_does(tokenizer, text):
    assert tokenize(tokenizer, text).tolist() == tokenizer(text)["input_ids"]


@pytest.mark.parametrize("damage", ["", "{", "{}", "[]", "cut", "no model", "foreign"])
def test_a_damaged_tokenizer_is_one_line(tokenizer, tmp_path, damage):
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "tokenizer.json"
    whole = file.read_text()
    values = json.loads(whole)
    if damage == "foreign":
        values["model"]["vocab"] = {"<unk>": 0, "a": 1}
    values["model"] = None if damage == "no model" else values["model"]
    file.write_text(
        {"cut": whole[:500], "no model": json.dumps(values), "foreign": json.dumps(values)}.get(damage, damage)
    )
    message = refusal(load_tokenizer, tmp_path)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message


def test_the_tokenizer_of_another_model_is_refused(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    config = {"language_config": {"vocab_size": len(tokenizer)}, "action_tokens": ACTIONS}
    (tmp_path / "config.json").write_text(json.dumps(config))
    load_tokenizer(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "action_tokens": ["<action:left>", "<action:up>"]}))
    assert "has <action:right> where the model has <action:up>" in refusal(load_tokenizer, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "language_config": {"vocab_size": 7}}))
    assert f"has {len(tokenizer)} tokens, the model 7 rows" in refusal(load_tokenizer, tmp_path)


def test_padding_is_on_the_left_and_is_marked():
    tokens, mask = pad_left([np.array([2, 7]), np.array([2, 8, 9, 10])])
    assert tokens.tolist() == [[PAD, PAD, 2, 7], [2, 8, 9, 10]]
    assert mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
