"""ActionCodec: a Gymnasium action space <-> the action tokens A_t of the model.

The codec names one token for every action, exact both ways. Token 0 is the first action token; the model adds the size
of its text vocabulary. It knows the space, not the environment and not the model. Spaces whose actions need several
tokens have `agentgym.action_spaces`, which data sets carry, and the model and the policy do not yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError

if TYPE_CHECKING:
    import gymnasium


@dataclass(frozen=True)
class ActionCodec:
    """`Discrete(len(names), start=start)`: action `start + i` is the one token i, called `<action:names[i]>`."""

    names: tuple[str, ...]
    start: int = 0

    @staticmethod
    def of(space: "gymnasium.Space[Any]", names: Sequence[str] | None = None) -> "ActionCodec":
        """The codec of a space; names default to numbers. Raises UserError for a space that has no tokens."""
        import gymnasium  # here alone: the model reads codecs without it

        if not isinstance(space, gymnasium.spaces.Discrete):
            raise UserError(
                f"action space {space}: action tokens exist for Discrete spaces; wrap the environment in one"
            )
        size, start = int(space.n), int(space.start)
        chosen = tuple(names) if names is not None else tuple(str(start + i) for i in range(size))
        if len(chosen) != size:
            raise ValueError(f"{size} actions need as many names, not {len(chosen)}")
        return ActionCodec(chosen, start)

    @property
    def tokens(self) -> list[str]:
        """The readable name of every action token."""
        return [f"<action:{name}>" for name in self.names]

    @property
    def num_tokens(self) -> int:
        """How many action tokens the vocabulary grows by."""
        return len(self.names)

    @property
    def length(self) -> int:
        """|A_t|, the tokens of one action."""
        return 1

    def encode(self, actions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Actions [...] as tokens [..., |A_t|]. Raises ValueError for an action outside the space."""
        tokens = np.asarray(actions, dtype=np.int64) - self.start
        if tokens.size and (tokens.min() < 0 or tokens.max() >= len(self.names)):
            raise ValueError(
                f"actions must lie in [{self.start}, {self.start + len(self.names)}), found {np.unique(actions)}"
            )
        return tokens[..., None]

    def decode(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """Tokens [..., |A_t|] as actions [...]."""
        return np.asarray(tokens, dtype=np.int64)[..., 0] + self.start

    def name(self, action: int) -> str:
        """The readable name of an action."""
        return self.names[action - self.start]
