"""Openings of Atari games: the state in which a game begins, for any seed, without loading its cartridge again.

A seed reaches the emulator only while a cartridge is loaded, which takes as long as two hundred steps. All that it
changes there is the generator that decides which actions stick: C++'s `std::mt19937`, from which nothing has been drawn
when a game begins. So the state for another seed is this one with the text of another generator.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from ale_py import ALEInterface, ALEState
from numpy.typing import NDArray

LENGTH = slice(24, 28)  # of a saved state: the number of bytes of what follows, but for the last eight
AROUND = LENGTH.stop + 8


@dataclass(frozen=True)
class Opening:
    """What comes before and after the generator in the saved state of a game's beginning, and the first screen.

    A saved state has no screen.
    """

    before: bytes
    after: bytes
    screen: NDArray[np.uint8]  # [height, width, 3]

    @classmethod
    def of(cls, ale: ALEInterface, seed: int) -> Self | None:
        """That of a game just begun, whose cartridge was loaded with the emulator's seed `seed`.

        None where the state does not have the form that is known here: of another version of ale-py, say.
        """
        saved = ale.cloneState(include_rng=True).serialize()
        before, generator, after = saved.rpartition(_generator(seed))
        opening = cls(before[:-4], after, ale.getScreenRGB())
        return opening if generator and opening.saved(seed) == saved else None

    def state(self, seed: int) -> ALEState:
        """The beginning of the game as if its cartridge had been loaded with that seed."""
        return ALEState(self.saved(seed))

    def saved(self, seed: int) -> bytes:
        """The same as bytes."""
        generator = _generator(seed)
        saved = bytearray(self.before + _count(len(generator)) + generator + self.after)
        saved[LENGTH] = _count(len(saved) - AROUND)
        return bytes(saved)


def _generator(seed: int) -> bytes:
    """A seeded `std::mt19937` as C++ writes it: 624 words, and how many of them are used up."""
    twister = np.random.RandomState(seed).get_state(legacy=False)["state"]
    return " ".join(map(str, [*twister["key"].tolist(), twister["pos"]])).encode()


def _count(number: int) -> bytes:
    return number.to_bytes(4, "little")
