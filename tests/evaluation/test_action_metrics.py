"""Next-action metrics against values worked out by hand."""

import math

import pytest
from tiny import model_of, sources_of, tokenizer_of

from agentgym.evaluation.action_metrics import bleu4, next_action_scores
from agentgym.evaluation.held_out import score_next_actions
from agentgym.recipes import LossRecipe
from agentgym.training.losses import compute_losses


def test_bleu4_is_the_geometric_mean_of_clipped_precisions():
    # candidate a b c d x against a b c d e: 4/5, 3/4, 2/3, 1/2
    assert bleu4(["abcde"], ["abcdx"]) == pytest.approx((4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4))
    assert bleu4(["abcde"], ["abcde"]) == 1.0


def test_bleu4_clips_repeated_tokens_and_sums_over_the_corpus_first():
    # a a a a against a b a a: unigrams 3/4, pairs 1/3, no triple
    assert bleu4(["abaa"], ["aaaa"]) == 0.0
    # with abcd right as well: unigrams 7/8, pairs 4/6, triples 2/4, quadruples 1/2
    assert bleu4(["abaa", "abcd"], ["aaaa", "abcd"]) == pytest.approx((7 / 8 * 4 / 6 * 2 / 4 * 1 / 2) ** (1 / 4))


def test_bleu4_of_a_short_candidate_is_lowered_by_the_brevity_penalty():
    assert bleu4(["abcdef"], ["abcd"]) == pytest.approx(math.exp(1 - 6 / 4))


def test_accuracy_and_perplexity_are_by_action():
    found = next_action_scores([[0, 1, 2], [3]], [[0, 1, 1], [3]], nats=4 * math.log(2.0))
    assert found["accuracy"] == 0.75
    assert found["perplexity"] == pytest.approx(2.0)
    assert (found["episodes"], found["actions"]) == (2, 4)


def test_constant_start_and_end_tokens_inflate_bleu():
    true, wrong = [[0, 1, 2, 3, 4, 5]], [[0, 1, 2, 3, 9, 9]]
    found = next_action_scores(true, wrong, nats=0.0)
    # plain: 4/6, 3/5, 2/4, 1/3; delimited, of 18 tokens those at 13 and 16 are wrong, and every n-gram that holds one
    assert found["bleu4"] == pytest.approx((4 / 6 * 3 / 5 * 2 / 4 * 1 / 3) ** (1 / 4))
    assert found["bleu4_with_delimiters"] == pytest.approx((16 / 18 * 13 / 17 * 11 / 16 * 10 / 15) ** (1 / 4))
    assert found["bleu4_with_delimiters"] > found["bleu4"]


def test_the_held_out_score_is_that_of_the_losses(demonstrations, tmp_path):
    dataset = demonstrations
    model = model_of(dataset)
    model.save_pretrained(tmp_path / "model")
    tokenizer_of(dataset).save_pretrained(tmp_path / "model")
    found = score_next_actions(tmp_path / "model", dataset, 0.25)
    _, held_out = sources_of(dataset)
    batch = held_out.batch(range(len(held_out)))
    losses = compute_losses(model.eval()(**batch.inputs), batch, LossRecipe())
    assert found["actions"] == losses.action.count
    assert found["accuracy"] == pytest.approx(losses.correct / losses.action.count)
    assert found["perplexity"] == pytest.approx(math.exp(losses.action.mean), rel=1e-4)
    assert score_next_actions(tmp_path / "model", dataset, 0.0) is None
