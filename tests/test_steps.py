"""Streaming decode of every mechanism: rows of the causal call, labels, windows and masks, refusals, CUDA."""

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS

attention = pa.attention
TOKENS, PARTS = 7, ((0, 1), (1, 4), (4, 4), (4, 5), (5, 7))
#: Mechanism -> what remembers the past.
STATES = {
    "dot_product": attention.Cache,
    "eigen": attention.EigenCache,
    "elliptical": attention.Cache,
    "expressive": attention.Cache,
    "kuramoto": attention.Cache,
    "linear": attention.LinearState,
    "position_only": attention.Cache,
    "resonant": attention.ResonantState,
    "squared": attention.SquaredState,
    "uniform": attention.UniformState,
}


def drawn(name, **sizes):
    return MECHANISMS[name].sample(np.random.default_rng(0), **{"tokens": TOKENS, **sizes})


def stepped(name, inputs, options, state, parts=PARTS, move=lambda x: x, **by_part):
    """Outputs of the parts, on the host. Phases and orientations of tokens are cut as inputs are."""
    outs = []
    for start, stop in parts:
        cut = {n: x[..., start:stop, :] for n, x in options.items() if n.endswith("_phase")}
        cut |= {n: x[..., start:stop, :, :] for n, x in options.items() if n.endswith("_orientation")}
        part = {n: move(x) if isinstance(x, np.ndarray) else x for n, x in {**options, **cut}.items()}
        part |= {n: f(start, stop) for n, f in by_part.items()}
        step = getattr(attention, f"{name}_step")
        outs.append(step(*(move(x[..., start:stop, :]) for x in inputs), state, **part))
    return outs


def test_every_mechanism_decodes():
    assert set(STATES) == set(MECHANISMS)


@pytest.mark.parametrize("name", STATES)
def test_steps_are_rows_of_the_causal_call_with_labels_and_without(name):
    xr = pytest.importorskip("xarray")
    inputs, options = drawn(name)
    expected = MECHANISMS[name].forward(*inputs, **options, causal=True)
    outs = stepped(name, inputs, options, STATES[name]())
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), expected, rtol=0, atol=1e-13)
    dims = ("text", "head", "time", "column") if inputs[0].ndim == 4 else ("text", "time", "column")
    coords = {"text": ["a", "b"], "time": 10 * np.arange(TOKENS)}
    labelled = [xr.DataArray(x, dims=(*dims[:-1], f"{n}_column"), coords=coords) for n, x in zip("qkv", inputs)]  # noqa: B905
    whole = MECHANISMS[name].forward(*labelled, **options, causal=True)
    parts = stepped(name, labelled, options, STATES[name]())
    assert [x.dims for x in parts] == [whole.dims] * len(PARTS)
    joined = xr.concat(parts, "time")
    assert list(joined.time.values) == list(coords["time"])
    assert list(joined.text.values) == ["a", "b"]
    np.testing.assert_array_equal(joined.transpose(*whole.dims), np.concatenate(outs, axis=-2))


@pytest.mark.parametrize("name", ["linear", "squared", "uniform", "position_only"])
def test_windows_and_masks_come_with_a_cache(name):
    inputs, options = drawn(name)
    mask = np.random.default_rng(1).random((TOKENS, TOKENS)) < 0.7
    for window in (None, 3):
        near = mask & attention.window_mask(TOKENS, TOKENS, window or TOKENS)
        expected = MECHANISMS[name].forward(*inputs, **options, causal=True, mask=near)
        cache = attention.Cache(window)

        def kept(start, stop, cache=cache):
            return mask[start:stop, stop - len(cache) - (stop - start) : stop]

        outs = stepped(name, inputs, options, cache, mask=kept)
        np.testing.assert_allclose(np.concatenate(outs, axis=-2), expected, rtol=0, atol=1e-13)
        assert (cache.position, len(cache)) == (TOKENS, window or TOKENS)


def test_squares_beyond_the_range_of_numbers_in_a_window():
    """Buffers of a cache hold anything beyond what is kept, and units of vectors must not come from there."""
    q, k, v = np.random.default_rng(0).standard_normal((3, 2, 40, 4))
    q[:, 20:] *= 1e200
    k[:, 30:] *= 1e190
    expected = attention.squared(q, k, v, causal=True, window=5)
    cache = attention.Cache(5)
    outs = stepped("squared", (q, k, v), {}, cache, [(i, i + 1) for i in range(40)])
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("symmetry", ["shift", 7, None])
@pytest.mark.parametrize("softmax", [False, True])
def test_rows_of_symmetric_weights(symmetry, softmax, rng):
    v, alpha = rng.standard_normal((2, TOKENS, 3)), rng.standard_normal((2, 7, 7) if symmetry is None else (2, 7))
    options = {"alpha": alpha, "symmetry": symmetry, "softmax": softmax}
    expected = attention.position_only(v, **options, causal=True)
    outs = stepped("position_only", (v,), options, attention.Cache())
    np.testing.assert_allclose(np.concatenate(outs, axis=-2), expected, rtol=0, atol=1e-13)


def test_weights_that_do_not_reach_are_refused(rng):
    v, cache = rng.standard_normal((4, 2)), attention.Cache()
    for bad, match in (
        ({"alpha": np.ones(3), "symmetry": "shift"}, "weights for 3 positions"),
        ({"alpha": np.ones((3, 5))}, "all pairs"),
        ({"alpha": np.ones(5), "symmetry": 4}, "4 elements"),
        ({"alpha": np.ones((5, 5)), "mask": np.ones((2, 9), bool)}, "mask"),
    ):
        with pytest.raises(ValueError, match=match):
            attention.position_only_step(v, cache, **bad)
    windowed = attention.Cache(2)
    with pytest.raises(TypeError, match="boolean"):
        attention.position_only_step(v, windowed, alpha=np.ones((5, 5)), mask=np.ones((4, 4)))
    assert (cache.position, cache.nbytes, windowed.position, windowed.nbytes) == (0, 0, 0, 0)


def test_a_running_mean_keeps_its_digits(rng):
    """Numbers that lie together far from 0: the sum of 200,000 in float32 alone would lose five digits."""
    v = (1000 + rng.standard_normal((200_000, 2))).astype(np.float32)
    state = attention.UniformState()
    out = np.concatenate([attention.uniform_step(x, state) for x in np.split(v, 100)])
    exact = np.cumsum(v, axis=0, dtype=float) / np.arange(1, len(v) + 1)[:, None]
    np.testing.assert_allclose(out, exact, rtol=2 * np.finfo(np.float32).eps)
    assert out.dtype == np.float32
    assert state.nbytes == 16


def test_a_running_mean_with_nan_and_inf():
    v = np.array([[1.0, 1.0, np.nan], [np.inf, 2.0, 1.0], [1.0, -np.inf, 1.0], [-np.inf, 1.0, 1.0], [1.0, 1.0, 1.0]])
    state = attention.UniformState()
    outs = [attention.uniform_step(x[None], state) for x in v]
    np.testing.assert_array_equal(np.concatenate(outs), attention.uniform(v, causal=True))


def test_what_does_not_continue_a_state_leaves_it_as_it_was(rng):
    x, state = rng.standard_normal((2, 1, 4)), attention.UniformState()
    first = attention.uniform_step(x, state)
    for bad in (x[:1], x[..., :2], x.astype(np.float32)):
        with pytest.raises(ValueError, match="only the number of tokens"):
            attention.uniform_step(bad, state)
    with pytest.raises(ValueError, match="tokens, width"):
        attention.uniform_step(np.ones(4), state)
    for name, n in (("uniform", 1), ("linear", 3), ("squared", 3)):
        sums = state if name == "uniform" else STATES[name]()
        with pytest.raises(ValueError, match="start with pa"):
            getattr(attention, f"{name}_step")(*[x] * n, sums, mask=np.ones((1, 1), bool))
        with pytest.raises(TypeError, match="is wanted; start with"):
            getattr(attention, f"{name}_step")(*[x] * n, None)
    np.testing.assert_array_equal(attention.uniform_step(x, state), first)
    assert repr(state) == "UniformState(2 tokens, 128 bytes)"


@pytest.mark.parametrize("name", ["linear", "squared", "uniform", "position_only"])
def test_an_interrupted_step_leaves_the_cache_as_it_was(name, monkeypatch):
    inputs, options = drawn(name)
    cache = attention.Cache(3)
    stepped(name, inputs, options, cache, PARTS[:2])
    kept = cache.position, cache.values.copy()

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(attention.Cache, "trim", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stepped(name, inputs, options, cache, PARTS[3:])
    assert cache.position == kept[0]
    np.testing.assert_array_equal(cache.values, kept[1])


def test_no_tokens_and_no_heads():
    for shape in ((2, 0, 3), (0, 2, 3)):
        v, state = np.ones(shape), attention.UniformState()
        assert attention.uniform_step(v, state).shape == shape
        assert state.position == shape[1]
        assert attention.uniform_step(v, attention.Cache()).shape == shape
        out = attention.position_only_step(v, attention.Cache(), alpha=np.ones(4), symmetry="shift")
        assert out.shape == shape


# --- CUDA ------------------------------------------------------------------------------------------------------------

VARIANTS = {
    "kuramoto": {
        "plain": {},
        "delay": {"coupling": np.array([[[0.5]], [[0.3 - 0.2j]]]), "drift_values": True},
        "geodesic": {"update": "geodesic", "strict": True},
    },
    "elliptical": {"dot": {}, "distance": {"metric": "distance", "rope": 10.0}},
    "eigen": {"plain": {}, "rope": {"rope": 10.0}},
    "uniform": {"sums": {}},
    "position_only": {"free": {}, "shift": {"symmetry": "shift", "softmax": True}},
    "squared": {"cache": {}},
    "linear": {"cache": {}},
}


@pytest.mark.cudasim
@pytest.mark.parametrize(("name", "variant"), [(n, v) for n, variants in VARIANTS.items() for v in variants])
@pytest.mark.parametrize("window", [None, 2])
def test_cuda_steps(name, variant, window):
    inputs, options = drawn(name, batch=(1,), tokens=4, width=2)
    options = {**options, **VARIANTS[name][variant]}
    if "symmetry" in options:
        options["alpha"] = options["alpha"][..., 0]
    limits = {"window": window} if name != "position_only" else {}
    if name == "position_only" and window:
        limits["mask"] = attention.window_mask(4, 4, window)
    expected = MECHANISMS[name].reference(*inputs, **options, **limits, causal=True)
    state = attention.EigenCache(window) if name == "eigen" else attention.Cache(window)
    if name == "uniform" and window is None:
        state = attention.UniformState()
    outs = stepped(name, inputs, options, state, ((0, 1), (1, 3), (3, 4)), move=pa.to_device)
    out = np.concatenate([pa.to_host(x) for x in outs], axis=-2)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)
    if isinstance(state, attention.Cache):
        with pytest.raises(TypeError, match="start another Cache"):
            stepped(name, inputs, options, state, ((3, 4),))
    else:
        with pytest.raises(ValueError, match="device"):
            stepped(name, inputs, options, state, ((3, 4),))
