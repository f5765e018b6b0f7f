"""VectorRecorder: Recorder for a `gymnasium.vector` environment, in any of its autoreset modes.

All rows go to one sink, each episode when it ends. Stable-Baselines3's `DummyVecEnv` needs nothing of its own: it steps
its environments in this process, so that a `Recorder` around each of them, with one sink for all, does the same.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import iterate

from agentgym.data.episode_builder import EpisodeBuilder, Sink
from agentgym.data.recorder import check_nothing_changed, check_observations
from agentgym.errors import UserError
from agentgym.spaces import SpaceCodec
from agentgym.spaces.batching import batch
from agentgym.versions import installed_versions


class VectorRecorder(VectorWrapper):
    """Passes everything through untouched and appends each row's episodes to `sink`, as `Recorder` does.

    The rows are environments of `agentgym.make` or `agentgym.wrap`, all of one task. Autoresets are unseeded in
    Gymnasium; the environment names the seed that it drew, and the episode keeps it. The step that NEXT_STEP spends on
    a reset is in no episode. Raises UserError for a vector environment that does not say its autoreset mode.
    """

    def __init__(self, env: VectorEnv, sink: Sink, *, task: str, expert: str) -> None:
        super().__init__(env)
        if "autoreset_mode" not in env.metadata:
            raise UserError(f"{env}: does not say how it resets; set metadata['autoreset_mode'] to an AutoresetMode")
        check_observations(env.single_observation_space, str(env))
        check_nothing_changed(env)
        self._mode = AutoresetMode(env.metadata["autoreset_mode"])
        self._space = SpaceCodec.of(env.single_action_space).root
        self._task = task
        packages = installed_versions(_packages(env))
        self._builders = [
            EpisodeBuilder(sink, self._space, task=task, expert=expert, versions=packages) for _ in range(env.num_envs)
        ]
        self._resetting = [False] * env.num_envs  # the rows whose next step is spent on a reset

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's; episodes begin in the rows of `options["reset_mask"]` (bool[N]), or in all.

        Raises UserError for other options, which a replay would not know.
        """
        mask = np.array((options or {}).get("reset_mask", np.ones(self.num_envs, bool)))  # which Gymnasium pops
        others = sorted(set(options or ()) - {"reset_mask"})
        if others:
            raise UserError(f"{self._task}: a recorded reset takes no options ({', '.join(others)})")
        rows = np.flatnonzero(mask).tolist()
        for row in rows:
            self._builders[row].flush()
        observations, infos = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # lists are taken
        for row in rows:
            self._begin(row, observations, infos)
            self._resetting[row] = False
        return observations, infos

    def label(self, actions: Any) -> None:
        """Says what the expert would do in each row, whatever the next step executes; in all steps or in none.

        The label of a row whose next step is spent on a reset is dropped.
        """
        for row, (builder, action) in enumerate(zip(self._builders, iterate(self.action_space, actions), strict=True)):
            if not self._resetting[row]:
                builder.label(action)

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the environment's; the episodes that ended go to the sink, by row.

        Raises ValueError when some steps of an episode have labels and others have none.
        """
        chosen = zip(self._builders, iterate(self.action_space, actions), strict=True)
        rows = [builder.prepare(action) for builder, action in chosen]
        observations, rewards, terminations, truncations, infos = self.env.step(
            batch(self.single_action_space, self._space, rows)
        )
        frames, texts, returned = observations["frame"], observations["instruction"], rewards.tolist()
        reset, over = self._resetting, np.logical_or(terminations, truncations).tolist()
        for row, builder in enumerate(self._builders):
            if reset[row]:
                self._begin(row, observations, infos)
                continue
            replaced = over[row] and self._mode == AutoresetMode.SAME_STEP  # by the next episode's first observation
            now = infos["final_info"] if replaced else infos
            seen = infos["final_obs"][row] if replaced else {"frame": frames[row], "instruction": texts[row]}
            builder.add(rows[row], seen["frame"], returned[row], seen["instruction"], _kept(now, row))
            if over[row]:
                said = now.get("is_success")
                success = said is not None and bool(said[row])
                builder.end(terminated=bool(terminations[row]), truncated=bool(truncations[row]), success=success)
            if replaced:
                self._begin(row, observations, infos)
        if self._mode == AutoresetMode.NEXT_STEP:
            self._resetting = over
        return observations, rewards, terminations, truncations, infos

    def close(self, **kwargs: Any) -> None:
        """Records what is unfinished, then closes the environments."""
        for builder in self._builders:
            builder.flush()
        super().close(**kwargs)

    def _begin(self, row: int, observations: Any, infos: dict[str, Any]) -> None:
        if "seed" not in infos:
            raise UserError(
                f"{self._task}: its reset names no seed in info['seed']; make it with agentgym.make or wrap"
            )
        self._builders[row].begin(
            observations["instruction"][row], observations["frame"][row], int(infos["seed"][row]), _kept(infos, row)
        )


def _kept(infos: Mapping[str, Any], row: int) -> Mapping[str, Any]:
    """What one row keeps with its frame."""
    return infos["kept"][row] if "kept" in infos else {}


def _packages(env: VectorEnv) -> tuple[str, ...]:
    """What decides how episodes look, as far as the rows say."""
    rows: Any = env.unwrapped  # VectorEnv declares no get_attr, which both of Gymnasium's have
    try:
        return tuple(rows.get_attr("packages")[0])
    except AttributeError:
        return ()
