"""Next-action metrics of recorded episodes: accuracy, perplexity and BLEU-4, from the tokens that were predicted.

BLEU-4 is how arXiv 2402.05929 reports its action prediction. There, an action is between a start and an end token,
which never change: they are always predicted rightly, and they are in most of the n-grams, so BLEU rises with no action
better predicted. Both values are given here: `bleu4` over action tokens only, and `bleu4_with_delimiters`, to be read
next to the paper's only. This module knows no model.
"""

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

START, END = "start", "end"  # the paper's [STARTACTION] and [ENDOFACTION]

Tokens = Sequence[Hashable]


def next_action_scores(true: Sequence[Tokens], predicted: Sequence[Tokens], *, nats: float) -> dict[str, Any]:
    """The metrics as plain values. One sequence an episode, of one action (a token or a tuple of them) a step.

    `nats` is the summed −log p of the true action tokens. Raises ValueError when there are none.
    """
    pairs = [pair for t, p in zip(true, predicted, strict=True) for pair in zip(t, p, strict=True)]
    if not pairs:
        raise ValueError("no actions to score")
    tokens = sum(len(_tokens(action)) for action, _ in pairs)
    return {
        "episodes": len(true),
        "actions": len(pairs),
        "accuracy": sum(a == b for a, b in pairs) / len(pairs),
        "perplexity": math.exp(nats / tokens),
        "bleu4": bleu4([_plain(t) for t in true], [_plain(p) for p in predicted]),
        "bleu4_with_delimiters": bleu4([_delimited(t) for t in true], [_delimited(p) for p in predicted]),
    }


def bleu4(references: Sequence[Tokens], candidates: Sequence[Tokens]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002), one reference a candidate, no smoothing: clipped counts are summed first.

    Orders for which no candidate is long enough are left out; a missing match of any other order makes it 0.
    """
    matches, totals = Counter[int](), Counter[int]()
    for reference, candidate in zip(references, candidates, strict=True):
        for order in range(1, 5):
            known, found = _ngrams(reference, order), _ngrams(candidate, order)
            matches[order] += (known & found).total()
            totals[order] += found.total()
    orders = [order for order in range(1, 5) if totals[order]]
    if not orders or not all(matches[order] for order in orders):
        return 0.0
    precision = math.exp(sum(math.log(matches[order] / totals[order]) for order in orders) / len(orders))
    reference_length, length = sum(map(len, references)), sum(map(len, candidates))
    return precision * min(1.0, math.exp(1 - reference_length / length))


def _ngrams(tokens: Tokens, order: int) -> Counter[tuple[Hashable, ...]]:
    return Counter(tuple(tokens[i : i + order]) for i in range(len(tokens) - order + 1))


def _tokens(action: Hashable) -> tuple[Hashable, ...]:
    return action if isinstance(action, tuple) else (action,)


def _plain(actions: Tokens) -> list[Hashable]:
    return [token for action in actions for token in _tokens(action)]


def _delimited(actions: Tokens) -> list[Hashable]:
    return [token for action in actions for token in (START, *_tokens(action), END)]
