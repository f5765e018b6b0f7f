"""SpaceCodec: exact on ids, within half a bin on reals, and nothing that the grammar allows is no action."""

import json

import gymnasium
import numpy as np
import pytest
from every_space import SPACES, boxes, multi_discretes
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from refusals import refusal

from agentgym.spaces import END, NEXT, NO_TOKEN, START, CompositeSpace, Reals, SpaceCodec
from agentgym.spaces.nodes import leaves_of, split

SCALES = st.sampled_from(["uniform", "mu-law"])
BINS = st.sampled_from([1, 2, 21, 256])


def assert_close(codec, action, decoded):
    """Equal, but for reals: in the same bin, whose middle the decoded one is."""
    for leaf, a, b in zip(leaves_of(codec.root), split(codec.root, action), split(codec.root, decoded), strict=True):
        if not isinstance(leaf, Reals):
            assert np.array_equal(a, b)
            continue
        assert np.asarray(b).dtype == np.dtype(leaf.dtype)
        first, second = (leaf.position(np.asarray(each, np.float64).reshape(-1)) for each in (a, b))
        unit = np.maximum(np.array(leaf.highs) - np.array(leaf.lows) + leaf._whole, 1e-12)
        exact = (np.array(leaf.bins) >= unit) & bool(leaf._whole and leaf.scale == "uniform")
        assert np.array_equal(np.asarray(a).reshape(-1)[exact], np.asarray(b).reshape(-1)[exact])
        if not leaf._whole:  # whole numbers are rounded down besides
            steepest = 22 if leaf.scale == "mu-law" else 1  # of the scale, where float32 rounds the middle
            rounded = steepest * np.finfo(leaf.dtype).eps * np.maximum(np.abs(leaf.lows), np.abs(leaf.highs)) / unit
            assert (np.abs(first - second) <= 0.5 / np.array(leaf.bins) + 2 * rounded + 1e-9).all()


def random_walk(codec, generator):
    ids = []
    while choices := codec.allowed(ids):
        ids.append(int(generator.choice(choices)))
    return ids


@settings(max_examples=200, deadline=None)
@given(space=SPACES, seed=st.integers(0, 2**31), bins=BINS, scale=SCALES)
def test_every_action_comes_back(space, seed, bins, scale):
    space.seed(seed)
    codec = SpaceCodec.of(space, bins=bins, scale=scale)
    for _ in range(3):
        action = space.sample()
        ids = codec.encode(action)
        assert codec.length in (None, len(ids))
        decoded = codec.decode(ids)
        assert decoded in space
        assert_close(codec, action, decoded)


@settings(max_examples=200, deadline=None)
@given(space=SPACES, seed=st.integers(0, 2**31), bins=BINS, scale=SCALES)
def test_what_the_grammar_allows_is_an_action_and_comes_back(space, seed, bins, scale):
    codec = SpaceCodec.of(space, bins=bins, scale=scale)
    ids = random_walk(codec, np.random.default_rng(seed))
    action = codec.decode(ids)
    assert action in space
    whole = any(isinstance(leaf, Reals) and leaf._whole for leaf in leaves_of(codec.root))
    if not whole:  # a bin of a whole number may hold none
        assert codec.encode(action) == ids


@settings(max_examples=100, deadline=None)
@given(space=SPACES, seed=st.integers(0, 2**31))
def test_every_prefix_of_an_action_is_allowed_and_nothing_shorter_is_whole(space, seed):
    space.seed(seed)
    codec = SpaceCodec.of(space, bins=8)
    ids = codec.encode(space.sample())
    for i, token in enumerate(ids):
        assert token in codec.allowed(ids[:i])
        with pytest.raises(ValueError, match="is not whole"):
            codec.decode(ids[:i])
    assert codec.allowed(ids) == []


@settings(max_examples=100, deadline=None)
@given(space=SPACES, bins=BINS, scale=SCALES)
def test_a_codec_survives_json(space, bins, scale):
    codec = SpaceCodec.of(space, bins=bins, scale=scale)
    assert SpaceCodec.from_json(json.loads(json.dumps(codec.to_json()))) == codec


@settings(max_examples=100, deadline=None)
@given(
    space=st.one_of(multi_discretes(), boxes(), st.builds(spaces.Discrete, st.integers(1, 9))), seed=st.integers(0, 99)
)
def test_arrays_of_actions_are_encoded_as_one_by_one(space, seed):
    space.seed(seed)
    codec = SpaceCodec.of(space, bins=21)
    actions = np.array([[space.sample() for _ in range(3)] for _ in range(2)])
    ids = codec.encode_array(actions)
    assert ids.tolist() == [[codec.encode(action) for action in row] for row in actions]
    decoded = codec.decode_array(ids)
    assert np.array_equal(decoded, np.array([[codec.decode(each) for each in row] for row in ids]))


def test_tokens_without_given_names_are_numbered_by_their_place():
    space = spaces.Dict(gas=spaces.Box(0, 1, ()), keys=spaces.MultiBinary((1, 2)), tools=spaces.MultiDiscrete([1, 2]))
    assert SpaceCodec.of(space, bins=1).tokens[:6] == tuple(
        f"<action:{name}>" for name in ("gas=0", "keys.0,0", "keys.0,1", "tools.0=0", "tools.1=0", "tools.1=1")
    )
    assert SpaceCodec.of(spaces.Box(0, 1, ()), bins=1).tokens == ("<action:value=0>",)


def test_parts_of_a_dict_are_arrays_of_their_own():
    space = spaces.Dict(tool=spaces.Discrete(3, start=1), aim=spaces.Box(-1, 1, (2,)))
    codec = SpaceCodec.of(space, bins=4)
    actions = {"tool": np.array([1, 3]), "aim": np.array([[-1, 0.9], [0.1, 0]], np.float32)}
    ids = codec.encode_array(actions)
    assert [[codec.tokens[i] for i in row] for row in ids] == [
        ["<action:tool=1>", "<action:aim.0=0>", "<action:aim.1=3>"],
        ["<action:tool=3>", "<action:aim.0=2>", "<action:aim.1=2>"],
    ]
    assert codec.decode_array(ids)["tool"].tolist() == [1, 3]
    assert codec.decode_array(ids)["aim"].tolist() == [[-0.75, 0.75], [0.25, 0.25]]


def test_a_discrete_space_has_one_token_for_every_number():
    codec = SpaceCodec.of(spaces.Discrete(3, start=-1))
    assert codec.encode_series(np.array([-1, 1, 0])).tolist() == [[0], [2], [1]]
    assert codec.decode_series(np.array([[0], [2]])).tolist() == [-1, 1]
    assert codec.is_free
    named = SpaceCodec.of(spaces.Discrete(2), ["left", "right"])
    assert named == SpaceCodec.discrete(("left", "right"))
    assert named.tokens == ("<action:left>", "<action:right>")
    assert not named.within((*named.tokens, "<action:up>")).is_free


@given(space=SPACES, seed=st.integers(0, 2**16))
def test_a_series_is_its_actions_one_by_one_and_none_is_longer_than_the_longest(space, seed):
    codec = SpaceCodec.of(space, bins=8)
    space.seed(seed)
    actions = [space.sample() for _ in range(3)]
    series = codec.encode_series(actions)
    assert [row[row != NO_TOKEN].tolist() for row in series] == [codec.encode(action) for action in actions]
    assert codec.length in (None, series.shape[1])
    assert series.shape[1] <= codec.longest
    for action, again in zip(actions, codec.decode_series(series), strict=True):
        assert_close(codec, action, again)
    walks = [random_walk(codec, np.random.default_rng([seed, i])) for i in range(5)]
    assert max(map(len, walks)) <= codec.longest


def test_only_pressed_buttons_are_emitted_between_start_and_end_as_in_the_paper():
    space = spaces.Dict(buttons=spaces.MultiBinary(3), camera=spaces.Box(-10, 10, (2,)))
    names = {"buttons": ["attack", "jump", "use"], "camera": ["camera_x", "camera_y"]}
    codec = SpaceCodec.of(space, names, bins=5)
    ids = codec.encode({"buttons": np.array([1, 0, 1]), "camera": np.array([-3.0, 0.0])})
    assert [codec.tokens[i] for i in ids] == [
        START, "<action:attack>", "<action:use>", NEXT, "<action:camera_x=1>", "<action:camera_y=2>", END,
    ]  # fmt: skip
    pressed_jump = codec.allowed([codec.tokens.index(START), codec.tokens.index("<action:jump>")])
    assert [codec.tokens[i] for i in pressed_jump] == ["<action:use>", NEXT]
    assert codec.length is None


def test_a_text_is_its_characters():
    codec = SpaceCodec.of(spaces.Text(3, min_length=1, charset="ab"))
    assert [codec.tokens[i] for i in codec.encode("ba")] == [START, "<action:'b'>", "<action:'a'>", END]
    assert END not in [codec.tokens[i] for i in codec.allowed([codec.tokens.index(START)])]


def test_environments_share_the_tokens_of_equal_names():
    first = SpaceCodec.of(spaces.Discrete(2), ["left", "pickup"])
    second = SpaceCodec.of(spaces.MultiBinary(2), ["pickup", "jump"])
    shared = list(dict.fromkeys([*first.tokens, *second.tokens]))
    assert len(shared) == 5
    pressed = second.within(shared)
    assert shared[pressed.encode(np.array([1, 0]))[1]] == shared[first.within(shared).encode(1)[0]] == "<action:pickup>"
    assert pressed.decode(pressed.encode(np.array([0, 1]))).tolist() == [0, 1]
    with pytest.raises(ValueError, match="the vocabulary has no token <action"):
        second.within(first.tokens)


def test_mu_law_bins_are_finest_in_the_middle():
    space = spaces.Box(-1, 1, (1,), np.float64)
    middles = [
        SpaceCodec.of(space, bins=9, scale=scale).decode_array(np.arange(9)[:, None])[:, 0]
        for scale in ("uniform", "mu-law")
    ]
    assert middles[0][4] == middles[1][4] == 0
    assert np.diff(middles[1])[4] < 0.1 < np.diff(middles[0])[4]
    assert np.diff(middles[1])[-1] > np.diff(middles[0])[-1]


def test_an_unbounded_box_needs_limits_and_actions_beyond_them_are_refused():
    space = spaces.Box(-np.inf, np.inf, (2,))
    assert "is unbounded; give limits=(low, high)" in refusal(SpaceCodec.of, space)
    codec = SpaceCodec.of(space, limits=(-2, 2), bins=4)
    assert codec.decode(codec.encode(np.array([-2, 1.9]))).tolist() == [-1.5, 1.5]
    with pytest.raises(ValueError, match="not within its limits"):
        codec.encode(np.array([0, 2.1]))
    assert "leave nothing of it" in refusal(SpaceCodec.of, spaces.Box(0, 1, (1,)), limits=(2, 3))


WRONG = {
    "a number": (spaces.Discrete(3), 3, "outside the space"),
    "a fraction": (spaces.Discrete(3), 1.5, "is float64; expected whole numbers"),
    "a button": (spaces.MultiBinary(2), np.array([0, 2]), "outside the space"),
    "a shape": (spaces.MultiDiscrete([2, 2]), np.array([1, 1, 1]), r"has shape \(3,\); expected \(2,\)"),
    "a character": (spaces.Text(3, charset="ab"), "abc", "text 'abc' is not of 1 to 3 characters"),
    "a length": (spaces.Text(2, charset="ab"), "aaa", "text 'aaa' is not of 1 to 2 characters"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_action_outside_the_space_is_refused(wrong):
    space, action, message = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        SpaceCodec.of(space).encode(action)


def test_tokens_that_are_no_action_are_refused():
    codec = SpaceCodec.of(spaces.MultiBinary(2))
    start = codec.tokens.index(START)
    with pytest.raises(ValueError, match="token 0 is not allowed at place 0"):
        codec.decode([0])
    with pytest.raises(ValueError, match="token 0 is not allowed at place 2"):
        codec.allowed([start, 1, 0])
    with pytest.raises(ValueError, match="column 1 has tokens that are not allowed there"):
        SpaceCodec.of(spaces.MultiDiscrete([2, 2])).decode_array(np.array([[0, 0]]))


def test_names_that_do_not_fit_and_spaces_without_tokens_are_refused():
    with pytest.raises(ValueError, match="3 actions need as many names, not 2"):
        SpaceCodec.of(spaces.Discrete(3), ["a", "b"])
    with pytest.raises(ValueError, match="must differ: a, a"):
        SpaceCodec.of(spaces.Discrete(2), ["a", "a"])
    with pytest.raises(ValueError, match="2 parts need as many lists of names, not 1"):
        SpaceCodec.of(spaces.Tuple([spaces.Discrete(2)] * 2), [["a", "b"]])
    assert "action tokens exist for Discrete" in refusal(SpaceCodec.of, spaces.Sequence(spaces.Discrete(2)))


def test_an_empty_action_is_whole_at_once():
    codec = SpaceCodec.of(spaces.Tuple([]))
    assert (codec.encode(()), codec.allowed(), codec.decode([]), codec.root) == ([], [], (), CompositeSpace(None, ()))
    assert isinstance(gymnasium.spaces.Tuple([]), spaces.Tuple)
