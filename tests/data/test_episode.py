"""Sample S: checked at birth, closed under slicing."""

import numpy as np
import pytest
from counted import counted_episode, same


def test_a_slice_has_its_steps_and_the_frame_that_follows_the_last_of_them():
    part = counted_episode(steps=5)[1:3]
    assert len(part) == 2
    assert part.frames[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert part.actions.tolist() == [1, 2]
    assert part.rewards.tolist() == [1 / 7, 2 / 7]


def test_the_whole_slice_is_the_sample_and_a_slice_of_a_slice_is_a_slice():
    episode = counted_episode(steps=6)
    assert same(episode[:], episode)
    assert same(episode[1:5][1:3], episode[2:4])
    assert same(episode[-2:], episode[4:6])


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_only_a_slice_with_the_last_step_has_the_end_of_the_episode(end):
    episode = counted_episode(steps=4, **{"terminated": False, end: True})
    assert getattr(episode[2:], end)
    assert not getattr(episode[:3], end)


def test_slices_without_steps_or_with_a_stride_are_refused():
    episode = counted_episode(steps=4)
    for steps in (slice(2, 2), slice(3, 1), slice(9, 12), slice(0, 4, 2), slice(None, None, -1)):
        with pytest.raises(ValueError, match="not a run of at least one step"):
            episode[steps]


def test_parts_that_do_not_fit_are_refused_with_both_numbers():
    frames = counted_episode(steps=5).frames
    with pytest.raises(ValueError, match="5 actions need 6 frames, not 5"):
        counted_episode(steps=5, frames=frames[:-1])
    with pytest.raises(ValueError, match="5 actions need as many rewards, not 4"):
        counted_episode(steps=5, rewards=np.zeros(4))
    with pytest.raises(ValueError, match="at least one action"):
        counted_episode(steps=0)
    with pytest.raises(ValueError, match=r"not float32\[6, 8, 8, 3\]"):
        counted_episode(steps=5, frames=frames.astype(np.float32))
    with pytest.raises(ValueError, match=r"not uint8\[6, 8, 8, 1\]"):
        counted_episode(steps=5, frames=frames[..., :1])


def test_the_total_reward_is_the_sum_of_the_rewards():
    assert counted_episode(steps=5).total_reward == pytest.approx((0 + 1 + 2 + 3 + 4) / 7)
