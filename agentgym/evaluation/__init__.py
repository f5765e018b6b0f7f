"""Evaluation: policies by name, episodes by seed, scores with their intervals, comparisons.

    policy_registry, protocol             who plays (PolicySpec), and on which suite and seeds (EvaluationConfig)
    rollouts, expert_rollouts, results    episodes of a policy or an expert, and what is known of each (RolloutResult)
    scoring, task_scores, statistics      an evaluation's folder; scores by task; Wilson and bootstrap intervals
    comparison, paired_test               two evaluations, level by level
    held_out, action_metrics              next-action accuracy, perplexity and BLEU-4 on held-out recordings
    expert_survey                         what an expert solves, as a table

Rollouts know a policy only by `predict`. Nothing here trains or draws.
"""

from typing import TYPE_CHECKING

from agentgym import lazy

if TYPE_CHECKING:
    from agentgym.evaluation.comparison import compare
    from agentgym.evaluation.policy_registry import PolicySpec, load_policy, resolve_policy
    from agentgym.evaluation.protocol import EvaluationConfig, configure_evaluation
    from agentgym.evaluation.results import RolloutResult
    from agentgym.evaluation.rollouts import rollout
    from agentgym.evaluation.scoring import evaluate

__all__ = [
    "EvaluationConfig",
    "PolicySpec",
    "RolloutResult",
    "compare",
    "configure_evaluation",
    "evaluate",
    "load_policy",
    "resolve_policy",
    "rollout",
]

__getattr__ = lazy.offer(
    __name__,
    {
        "EvaluationConfig": "agentgym.evaluation.protocol",
        "PolicySpec": "agentgym.evaluation.policy_registry",
        "RolloutResult": "agentgym.evaluation.results",
        "compare": "agentgym.evaluation.comparison",
        "configure_evaluation": "agentgym.evaluation.protocol",
        "evaluate": "agentgym.evaluation.scoring",
        "load_policy": "agentgym.evaluation.policy_registry",
        "resolve_policy": "agentgym.evaluation.policy_registry",
        "rollout": "agentgym.evaluation.rollouts",
    },
)
