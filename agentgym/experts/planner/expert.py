"""The planner as an expert: it follows its plan while the world is as foreseen, and plans again when it is not."""

from dataclasses import replace

from agentgym.environments import MiniGridTask, Observation, Task
from agentgym.errors import UserError
from agentgym.experts.planner.missions import Arrive, is_known, mission_of
from agentgym.experts.planner.planning import NoPlanError, plan
from agentgym.experts.planner.world import LEFT, World


class MiniGridPlanner:
    """Plans on the true grid, for the MiniGrid levels that have no bot."""

    def check(self, environment: Task) -> None:
        """Raises UserError when it does not know what the level asks."""
        if not (isinstance(environment, MiniGridTask) and is_known(environment.minigrid)):
            raise UserError(
                f"expert 'minigrid-planner' cannot act in {environment.task}: it needs a MiniGrid-* task with a "
                "mission; 'babyai-bot' acts in BabyAI-* tasks"
            )

    def start(self, environment: Task, seed: int) -> None:
        """Without a plan yet."""
        assert isinstance(environment, MiniGridTask)
        self._minigrid = environment.minigrid
        self._expected: World | None = None
        self._looked = False

    def act(self, observation: Observation) -> int:
        """The next action of the plan. Raises NoPlanError when there is none."""
        world = World.of(self._minigrid)
        if not self._looked and world.pose in mission_of(self._minigrid, world).look:
            self._looked, self._expected = True, None
        if world != self._expected:
            self._plan = iter(self._new_plan(world))
        action = next(self._plan)
        self._expected = world.after(action)
        return action

    def _new_plan(self, world: World) -> list[int]:
        mission = mission_of(self._minigrid, world)
        if mission.look and not self._looked:
            mission = replace(mission, tasks=(Arrive(mission.look),))
        try:
            return plan(world, mission)
        except NoPlanError:
            if mission.moving:
                return [LEFT]  # whatever moves may have gone after one more turn
            raise
