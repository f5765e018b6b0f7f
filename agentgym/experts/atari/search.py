"""Rollout-IW(1): the best first action from a state, by rollouts that end where nothing new is seen.

After Bandres, Bonet and Geffner 2018 (arXiv 1801.03354). A rollout continues while some atom of its state is there
sooner than ever before in this search; what can lead nowhere new is solved and not entered again. Except: rollouts also
end at a depth, the budget counts simulated states, and what is below the chosen action is kept as long as the world
became what the search had foreseen. It knows a world only through `Simulator`.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

UNSEEN = np.iinfo(np.int64).max


class Outcome(NamedTuple):
    """What an action leads to: a state to continue from, its reward, whether all ends, and which atoms are true."""

    state: Any
    reward: float
    over: bool
    atoms: NDArray[np.int64]


class Simulator(Protocol):
    """A world that can be tried: deterministic, with numbered actions and numbered atoms."""

    num_actions: int
    num_atoms: int

    def after(self, state: Any, action: int) -> Outcome:
        """What that action leads to from that state."""
        ...


@dataclass(eq=False)
class Node:
    """A state in the tree of what was tried."""

    outcome: Outcome
    depth: int
    parent: "Node | None" = None
    children: dict[int, "Node"] = field(default_factory=dict)
    solved: bool = False

    @property
    def size(self) -> int:
        """How many states were tried below this one."""
        return sum(1 + child.size for child in self.children.values())

    def value(self, discount: float) -> float:
        """The discounted return of the best of what was tried from before this state on."""
        best = max((child.value(discount) for child in self.children.values()), default=0.0)
        return self.outcome.reward + discount * best


@dataclass(frozen=True)
class Settings:
    """How much is tried a decision, in simulated states; how deep; how much less each depth counts."""

    states: int
    horizon: int
    discount: float


class Search:
    """The tree below the present state, its `root`."""

    def __init__(self, simulator: Simulator, settings: Settings, generator: np.random.Generator) -> None:
        self._simulator, self._settings, self._generator = simulator, settings, generator
        self.root: Node | None = None

    def choose(self, now: Outcome) -> int:
        """The action that begins the best of what was tried, by chance among equals.

        The tree of the last choice is kept below that action when `now` has the atoms that it foresaw.
        """
        self.root = root = self._kept(now)
        self._soonest = np.full(self._simulator.num_atoms, UNSEEN)
        self._remember(root)
        left = self._settings.states
        while left and not root.solved:
            left -= self._roll_out(root, left)
        self._chosen = self._best(root)
        return self._chosen

    def _kept(self, now: Outcome) -> Node:
        foreseen = self.root.children.get(self._chosen) if self.root else None
        if foreseen is None or foreseen.outcome.over or not np.array_equal(foreseen.outcome.atoms, now.atoms):
            return Node(now, 0)  # an end that is none, such as that of a life, has nothing below it
        foreseen.parent = None
        return foreseen

    def _remember(self, root: Node) -> None:
        """The kept tree is as if it had just been tried: from depth 0 on, with room below for what is new."""
        root.depth, nodes = 0, [root]
        for node in nodes:
            np.minimum.at(self._soonest, node.outcome.atoms, node.depth)
            for child in node.children.values():
                child.depth = node.depth + 1
                nodes.append(child)
        for node in reversed(nodes):
            node.solved = node.outcome.over or self._leads_nowhere(node)

    def _roll_out(self, node: Node, limit: int) -> int:
        """Goes down by chance until something is solved; how many states that simulated."""
        simulated = 0
        while simulated < limit and not node.solved:
            known = len(node.children)
            parent, node = node, self._go_down(node)
            simulated += len(parent.children) - known
        return simulated

    def _go_down(self, node: Node) -> Node:
        actions = range(self._simulator.num_actions)
        open_ = [action for action in actions if action not in node.children or not node.children[action].solved]
        action = int(self._generator.choice(open_))
        child = node.children.get(action)
        if child is None:
            child = node.children[action] = Node(
                self._simulator.after(node.outcome.state, action), node.depth + 1, node
            )
            novel = bool((child.depth < self._soonest[child.outcome.atoms]).any())
            np.minimum.at(self._soonest, child.outcome.atoms, child.depth)
        else:
            novel = bool((child.depth <= self._soonest[child.outcome.atoms]).any())
        if child.outcome.over or not novel or child.depth >= self._settings.horizon:
            self._solve(child)
        return child

    def _solve(self, node: Node) -> None:
        node.solved = True
        if node.parent and self._leads_nowhere(node.parent):
            self._solve(node.parent)

    def _leads_nowhere(self, node: Node) -> bool:
        children = node.children.values()
        return len(children) == self._simulator.num_actions and all(child.solved for child in children)

    def _best(self, root: Node) -> int:
        values = {action: child.value(self._settings.discount) for action, child in root.children.items()}
        return int(
            self._generator.choice([action for action, value in values.items() if value == max(values.values())])
        )
