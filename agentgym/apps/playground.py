"""The playground: people watch an agent, take over, and keep episodes as demonstrations; one session for each visitor.

The web page and its requests are in `playground_app`.
"""

import secrets
import threading
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from agentgym import environments, recipes
from agentgym.apps.session import Session, SessionView, open_dataset
from agentgym.data.png import encode_png
from agentgym.data.store import DatasetWriter
from agentgym.errors import UserError
from agentgym.recipes import FrameRecipe, SuiteRecipe, TaskRecipe

if TYPE_CHECKING:
    from agentgym.policies.agent_policy import AgentPolicy

DEFAULT_SUITE = "babyai-goto-redball"
MAX_SESSIONS = 8
MOST_NUMBERS = 1024  # of an action
IDLE_S = 600.0  # after which a visitor's place may be given to another


class RequestBody(BaseModel):
    """What a request may hold; anything else is refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class BeginRequest(RequestBody):
    """A new session or episode."""

    task: str | None = None
    seed: Annotated[int | None, Field(ge=0)] = None
    instruction: str | None = None


Action = str | Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=MOST_NUMBERS)]


class StepRequest(RequestBody):
    """One step: a person's action by name or as numbers, or none for the agent's own."""

    action: Action | None = None


class CorrectRequest(RequestBody):
    """What the last step should have been."""

    action: Action


class KeepRequest(RequestBody):
    """Keeping the episode; `success` is the person's word."""

    success: bool | None = None


@dataclass
class Visitor:
    """A session and when it was last used."""

    session: Session
    used: float = field(default_factory=time.monotonic)


@dataclass
class Playground:
    """What a server offers. `tasks` are those that a session may play, by id, the first one when it starts.

    A task has the frames of its suite, named in `frames`, or else `frame`.
    """

    tasks: Mapping[str, TaskRecipe]
    frame: FrameRecipe
    agent: "AgentPolicy | None" = None
    name: str = ""
    known: Sequence[str] = ()  # the tasks that the agent was trained on
    writer: DatasetWriter | None = None
    max_sessions: int = MAX_SESSIONS
    visitors: dict[str, Visitor] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)  # the agent and the writer are for one at a time
    kept: int = 0
    frames: Mapping[str, FrameRecipe] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """What the page needs to know before it starts."""
        record = str(self.writer.path) if self.writer else None
        clips = self.agent is not None and self.agent.model.vision_encoder.temporal is not None
        found = {"tasks": list(self.tasks), "known": list(self.known), "agent": self.name or None, "record": record}
        return {**found, "clips": clips}

    def enter(self, asked: BeginRequest) -> dict[str, Any]:
        """A new session. Raises UserError when the task is not offered or all places are taken."""
        task = asked.task or next(iter(self.tasks))
        if task not in self.tasks:
            raise UserError(f"task '{task}' is not offered here; choose one of the list")
        self._make_place()
        session = Session(self.tasks[task], frame=self.frames.get(task, self.frame), agent=self.agent, name=self.name)
        try:
            view = session.begin(asked.seed, asked.instruction)
        except UserError:
            session.close()
            raise
        identity = secrets.token_urlsafe(12)
        self.visitors[identity] = Visitor(session)
        return {"session": identity, "controls": session.controls, **shown(view)}

    def find(self, identity: str) -> Session:
        """A visitor's session. Raises UserError when it is over."""
        visitor = self.visitors.get(identity)
        if visitor is None:
            raise UserError("this session is over; reload the page to start another one")
        visitor.used = time.monotonic()
        return visitor.session

    def step(self, identity: str, asked: StepRequest) -> dict[str, Any]:
        """One step. Raises UserError for an action that is not one."""
        return shown(self.find(identity).act(asked.action))

    def correct(self, identity: str, asked: CorrectRequest) -> dict[str, Any]:
        """The last step has a person's label. Raises UserError for an action that is not one."""
        session = self.find(identity)
        session.correct(asked.action)
        return {"corrected": session.corrected}

    def keep(self, identity: str, asked: KeepRequest) -> dict[str, Any]:
        """Appends the episode to the dataset; it is on disk when this returns.

        Raises UserError when the playground records nothing.
        """
        if self.writer is None:
            raise UserError("nothing is recorded here; start the playground with --record data/NAME")
        session = self.find(identity)
        episode = session.keep(asked.success)
        self.writer.append(episode)
        self.writer.commit()
        self.kept += 1
        answer = {"kept": self.kept, "steps": len(episode), "corrected": session.corrected}
        return {**answer, "expert": episode.expert, "success": episode.success}

    def leave(self, identity: str) -> None:
        """Ends a session."""
        visitor = self.visitors.pop(identity, None)
        if visitor:
            visitor.session.close()

    def close(self) -> None:
        """Ends all sessions and closes the dataset."""
        for identity in list(self.visitors):
            self.leave(identity)
        if self.writer:
            self.writer.close()

    def _make_place(self) -> None:
        if len(self.visitors) < self.max_sessions:
            return
        idle = min(self.visitors, key=lambda identity: self.visitors[identity].used)
        if time.monotonic() - self.visitors[idle].used < IDLE_S:
            raise UserError(f"all {self.max_sessions} places are taken; come back later, or close another page")
        self.leave(idle)


def shown(view: SessionView) -> dict[str, Any]:
    """A view as plain values, pictures as base64 PNG."""
    thought = view.thought
    return {
        **{name: getattr(view, name) for name in ("task", "seed", "instruction", "mission", "step", "who")},
        **{name: getattr(view, name) for name in ("reward", "total_reward", "over", "success")},
        "frame": b64encode(encode_png(view.frame)).decode("ascii"),
        "world": b64encode(encode_png(view.world)).decode("ascii"),
        "probabilities": thought and thought.probabilities and list(thought.probabilities),
        "tokens": thought and [[token.name, token.alternatives] for token in thought.tokens],
        "choice": thought and np.asarray(thought.choice).ravel().tolist(),
        "window": int(thought.state.steps[0]) if thought else 1,
    }


def offer(run: Path | None, *, suite: str | None, record: Path | None) -> Playground:
    """The playground of a run, with the tasks of all its suites, or of a suite, for people only.

    Suites whose package is not installed are left out. Raises UserError where none is left.
    """
    agent, name, trained_on = _load(run) if run else (None, "", [])
    suites = _playable([recipes.load_suite(suite)] if suite else trained_on or [recipes.load_suite(DEFAULT_SUITE)])
    first, offered = suites[0], {task.id: (task, each.frame) for each in suites for task in each.tasks}
    others = [] if suite else [task for task in _others(first) if task.id not in offered]
    return Playground(
        tasks={**{name: task for name, (task, _) in offered.items()}, **{task.id: task for task in others}},
        frame=first.frame,
        frames={name: frame for name, (_, frame) in offered.items()},
        agent=agent,
        name=name,
        known=[task.id for each in trained_on for task in each.tasks],
        writer=open_dataset(record, first.tasks, first.frame) if record else None,
    )


def _playable(suites: Sequence[SuiteRecipe]) -> list[SuiteRecipe]:
    """Those that can be played here. Raises UserError, as the first of them does, where none can."""
    found: list[SuiteRecipe] = []
    refused: list[UserError] = []
    for suite in suites:
        try:
            environments.check_suite(suite)
            found.append(suite)
        except UserError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    return found


def _others(suite: SuiteRecipe) -> list[TaskRecipe]:
    """The other tasks of the family that the suite's first one is of."""
    family, named = environments.family_of(suite.tasks[0].id), {task.id for task in suite.tasks}
    ids = [task for task in environments.task_ids() if environments.family_of(task) is family and task not in named]
    return [TaskRecipe(id=task) for task in ids]


def _load(run: Path) -> "tuple[AgentPolicy, str, list[SuiteRecipe]]":
    """The agent of a run or checkpoint folder, its name, and the suites that it was trained on where they are known."""
    from agentgym.evaluation import policy_registry  # torch, which a person without an agent does not need
    from agentgym.policies.agent_policy import AgentPolicy
    from agentgym.training.run_folder import read_recipe

    player = policy_registry.resolve_policy(str(run))
    if player.kind != "agent":
        raise UserError(f"{run}: the playground shows a run or a checkpoint folder")
    suites = read_recipe(player.run).suites if player.run else []
    return AgentPolicy.from_pretrained(run), player.name, suites
