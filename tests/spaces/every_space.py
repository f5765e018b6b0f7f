"""Gymnasium spaces of every kind, drawn for Hypothesis."""

import numpy as np
from gymnasium import spaces
from hypothesis import strategies as st

SHAPES = st.sampled_from([(), (1,), (3,), (2, 2), (0,)])


@st.composite
def boxes(draw):
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int64]))
    if np.issubdtype(dtype, np.integer):
        bound = st.integers(0 if dtype is np.uint8 else -128, 127)
    else:
        bound = st.floats(-1000, 1000, width=16)
    low = np.array([draw(bound) for _ in range(int(np.prod(shape)))], dtype).reshape(shape)
    high = np.array([draw(bound) for _ in range(int(np.prod(shape)))], dtype).reshape(shape)
    return spaces.Box(np.minimum(low, high), np.maximum(low, high), shape, dtype)


@st.composite
def multi_discretes(draw):
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    starts = [draw(st.integers(-3, 3)) for _ in sizes]
    shape = (2, 2) if len(sizes) == 4 else (len(sizes),)
    return spaces.MultiDiscrete(np.reshape(sizes, shape), start=np.reshape(starts, shape))


LEAVES = st.one_of(
    st.builds(lambda size, start: spaces.Discrete(size, start=start), st.integers(1, 9), st.integers(-5, 5)),
    multi_discretes(),
    boxes(),
    st.sampled_from([1, 4, (2, 3)]).map(spaces.MultiBinary),
    st.builds(
        lambda low, more: spaces.Text(low + more, min_length=low, charset="abc ü"), st.integers(0, 2), st.integers(1, 3)
    ),
)


SPACES = st.recursive(
    LEAVES,
    lambda parts: st.one_of(
        st.lists(parts, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from("abcd"), parts, max_size=3).map(spaces.Dict),
    ),
    max_leaves=5,
)
