"""The text tokenizer: any text comes back, and its ids are those of the model."""

import numpy as np
import pytest
from worlds import refusal

from agentgym.model.tokenizer import PAD, START, load_tokenizer, pad_left, tokenize, train_tokenizer

ACTIONS = ["<action:left>", "<action:right>"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["go to the red ball", "pick up the key"], ACTIONS)


@pytest.mark.parametrize("text", ["go to the red ball", "never seen", "größer → 球", "<pad"])
def test_any_text_comes_back_behind_the_start_token(tokenizer, text):
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


def test_padding_stands_on_the_left_and_is_marked():
    tokens, mask = pad_left([np.array([2, 7]), np.array([2, 8, 9, 10])])
    assert tokens.tolist() == [[PAD, PAD, 2, 7], [2, 8, 9, 10]]
    assert mask.tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
