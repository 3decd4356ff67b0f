"""Every entry of MECHANISMS: outputs, weights and gradients against its oracle, dtypes, awkward input, CUDA twins.

The oracle of a mechanism is ``reference`` in ``tests/naive/<name>.py``, with the arguments of the public function.
"""

import importlib
import inspect

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS, Sample

OPTIONS = {
    "plain": {},
    "causal": {"causal": True},
    "mask": {"mask": np.random.default_rng(3).random((2, 1, 7, 7)) < 0.6},
    "causal mask": {"causal": True, "mask": np.random.default_rng(4).random((7, 7)) < 0.6},
    "scale": {"scale": 2.5},
    "eps": {"eps": 0.3},
    "window": {"window": 3},
    "causal window": {"causal": True, "window": 3},
    "alibi": {"alibi": np.array([0.3, 1.2])},
    "rope": {"rope": 100.0, "causal": True},
}


def takes(name, case):
    """Whether a mechanism has the options of a case."""
    return set(OPTIONS[case]) <= set(inspect.signature(MECHANISMS[name].forward).parameters)


CASES = [(name, case) for name in MECHANISMS for case in OPTIONS if takes(name, case)]


def oracle(name):
    module = importlib.import_module(f"tests.naive.{name}")
    return getattr(module, "reference", MECHANISMS[name].reference)


def drawn(name, case="plain", dtype=np.float64, seed=0, **sizes) -> Sample:
    sample = MECHANISMS[name].sample(np.random.default_rng(seed), **{"tokens": 7, "dtype": dtype, **sizes})
    return Sample(sample.inputs, {**sample.options, **OPTIONS[case]})


def slope(function, sample, which, direction, dout):
    """d <dout, function> along a direction of one input or option, by the complex step."""
    h, names = 1e-30, sample.options
    inputs, options = list(sample.inputs), dict(names)
    if isinstance(which, int):
        inputs[which] = inputs[which] + 1j * h * direction
    else:
        inputs = [x + 0j for x in inputs]  # oracles take the type of their results from them
        options[which] = options[which] + 1j * h * direction
    return float((function(*inputs, **options) * dout).sum().imag / h)


def gradient_error(name, sample, grads, dout):
    """Largest relative difference between the hand-derived gradients and the oracle's, over random directions."""
    mechanism, rng, worst = MECHANISMS[name], np.random.default_rng(1), 0.0
    for argument, gradient in grads.items():
        which = mechanism.inputs.index(argument) if argument in mechanism.inputs else argument
        for _ in range(3):
            direction = rng.standard_normal(gradient.shape)
            expected = slope(oracle(name), sample, which, direction, dout)
            worst = max(worst, abs(expected - (gradient * direction).sum()) / (1 + abs(expected)))
    return worst


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_record_is_complete(name):
    mechanism = MECHANISMS[name]
    signature = inspect.signature(mechanism.forward)
    assert mechanism.name == name
    assert mechanism.forward is getattr(pa.attention, name)
    assert list(signature.parameters)[: len(mechanism.inputs)] == list(mechanism.inputs)
    assert set(mechanism.parameters) <= set(signature.parameters)
    assert set(mechanism.sample(np.random.default_rng(0)).options) <= set(signature.parameters)
    assert "Notes\n" in mechanism.forward.__doc__
    assert "References\n" in mechanism.forward.__doc__
    assert mechanism.cite


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vectors_attend_themselves(name, dtype):
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype(dtype)
    x[0, 1, 2] = 0
    mechanism, drawn = MECHANISMS[name], MECHANISMS[name].of_vectors(x)
    assert set(drawn.options) <= set(inspect.signature(mechanism.forward).parameters)
    out, weights = mechanism.forward(*drawn.inputs, **drawn.options, return_weights=True)
    assert out.dtype == dtype
    assert (weights.shape[0], *weights.shape[-2:]) == (2, 6, 6)
    assert weights.size == 72  # an axis of one head may stand between
    assert np.isfinite(out).all()


@pytest.mark.parametrize(("name", "case"), CASES)
def test_output_and_weights_equal_the_oracle(name, case):
    sample = drawn(name, case)
    out, weights = MECHANISMS[name].forward(*sample.inputs, **sample.options, return_weights=True)
    expected, expected_weights = oracle(name)(*sample.inputs, **sample.options, return_weights=True)
    assert np.ptp(expected) > 0.1  # an oracle that is constant shows nothing
    # sums of a few dozen numbers of size about 1 in float64
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(weights, expected_weights, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(MECHANISMS[name].forward(*sample.inputs, **sample.options), out)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_the_reference_of_the_package_equals_the_oracle(name, case):
    sample = drawn(name, case)
    got = MECHANISMS[name].reference(*sample.inputs, **sample.options)
    np.testing.assert_allclose(got, oracle(name)(*sample.inputs, **sample.options), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("name", "case"), CASES)
def test_gradients_equal_the_complex_step(name, case):
    sample = drawn(name, case)
    out, pullback = pa.attention.vjp(name, *sample.inputs, **sample.options)
    np.testing.assert_array_equal(out, MECHANISMS[name].forward(*sample.inputs, **sample.options))
    dout = np.random.default_rng(2).standard_normal(out.shape)
    grads = pullback(dout)
    mechanism = MECHANISMS[name]
    assert set(mechanism.inputs) <= set(grads) <= {*mechanism.inputs, *mechanism.parameters}
    assert {p for p in mechanism.parameters if sample.options.get(p) is not None} <= set(grads)
    assert gradient_error(name, sample, grads, dout) < 1e-11
    for argument in grads:  # the check is alive: one part in a million off is rejected
        wrong = {**grads, argument: grads[argument] * (1 + 1e-6)}
        assert gradient_error(name, sample, wrong, dout) > 1e-9


@pytest.mark.parametrize("name", MECHANISMS)
def test_float32_stays_float32_and_agrees(name):
    case = "causal" if takes(name, "causal") else "plain"
    single, double = (drawn(name, case, dtype) for dtype in (np.float32, np.float64))
    out, pullback = pa.attention.vjp(name, *single.inputs, **single.options)
    expected, expected_pullback = pa.attention.vjp(name, *double.inputs, **double.options)
    assert out.dtype == np.float32
    # inputs rounded to 24 bits; outputs and gradients are of size about 1 and well conditioned
    np.testing.assert_allclose(out, expected, rtol=0, atol=3e-6)
    for argument, gradient in pullback(np.ones_like(out)).items():
        assert gradient.dtype == np.float32
        wide = expected_pullback(np.ones_like(expected))[argument]
        np.testing.assert_allclose(gradient, wide, rtol=0, atol=1e-5 * max(1, abs(wide).max()))


FORMS = ["read-only", "strided", "big-endian", "float32 beside float64"]


@pytest.mark.parametrize(
    ("name", "form"),
    [(n, f) for n, m in MECHANISMS.items() for f in FORMS if len(m.inputs) > 1 or f != "float32 beside float64"],
)
def test_layout_and_byte_order_do_not_matter(name, form):
    sample = drawn(name)

    def changed(x):
        if form == "strided":
            return np.repeat(x, 2, axis=-1)[..., ::2]
        if form == "big-endian":
            return x.astype(">f8")
        x = x.copy()
        x.flags.writeable = False
        return x

    inputs = [changed(x) for x in sample.inputs]
    if form == "float32 beside float64":
        inputs[0] = inputs[0].astype(np.float32)
    before = [x.copy() for x in inputs]
    out, pullback = pa.attention.vjp(name, *inputs, **sample.options)
    pullback(np.ones_like(out))
    assert all(np.array_equal(x, y) for x, y in zip(inputs, before, strict=True))
    expected = MECHANISMS[name].forward(*(np.asarray(x, float) for x in inputs), **sample.options)
    np.testing.assert_array_equal(out, expected)
    assert out.dtype == np.float64
    assert out.dtype.isnative


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("sizes", [{"tokens": 0}, {"tokens": 1}, {"batch": (0,)}, {"batch": ()}, {"batch": (2, 1)}])
def test_few_tokens_and_other_leading_axes(name, sizes):
    sample = drawn(name, "causal" if takes(name, "causal") else "plain", **sizes)
    out, pullback = pa.attention.vjp(name, *sample.inputs, **sample.options)
    expected = MECHANISMS[name].reference(*sample.inputs, **sample.options)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)
    grads = pullback(np.ones_like(out))
    assert all(grads[n].shape == x.shape for n, x in zip(MECHANISMS[name].inputs, sample.inputs, strict=True))
    assert all(np.isfinite(g).all() for g in grads.values())


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_wrong_upstream_gradient_is_refused(name):
    sample = drawn(name)
    out, pullback = pa.attention.vjp(name, *sample.inputs, **sample.options)
    with pytest.raises(ValueError, match="dout"):
        pullback(out[..., :-1])


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("kind", [complex, object, np.longdouble, "U8", "masked"])
def test_an_upstream_gradient_that_is_no_real_array_is_refused(name, kind):
    sample = drawn(name)
    out, pullback = pa.attention.vjp(name, *sample.inputs, **sample.options)
    dout = np.ma.masked_array(out, out > 0) if kind == "masked" else out.astype(kind)
    with pytest.raises(TypeError, match="dout"):
        pullback(dout)


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_labelled_upstream_gradient_is_matched_by_name(name):
    import xarray

    sample, dims = drawn(name, tokens=4), ("batch", "head", "token", "c")
    arrays = [xarray.DataArray(x, dims=dims[: x.ndim - 1] + dims[-1:]) for x in sample.inputs]
    out, pullback = pa.attention.vjp(name, *arrays, **sample.options)
    dout = out.copy(data=np.random.default_rng(0).standard_normal(out.shape))
    turned = dout.transpose(*dout.dims[::-1])
    for gradient, other in zip(pullback(dout).values(), pullback(turned).values(), strict=True):
        np.testing.assert_array_equal(gradient, other)
    with pytest.raises(ValueError, match="dout has dimensions"):
        pullback(dout.rename(c="d"))


@pytest.mark.parametrize("name", [n for n in MECHANISMS if takes(n, "mask")])
def test_a_masked_mask_is_refused(name):
    sample = drawn(name)
    with pytest.raises(TypeError, match=r"mask.filled\(False\)"):
        MECHANISMS[name].forward(*sample.inputs, **sample.options, mask=np.ma.masked_array(np.ones((7, 7), bool)))


NO_NUMBERS = [
    ("scale", True), ("scale", 10**400), ("scale", 1e300), ("eps", True), ("eps", 10**400), ("rope", True),
    ("rope", "10000"), ("rope", np.inf),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [(n, *o) for n, m in MECHANISMS.items() for o in NO_NUMBERS if o[0] in inspect.signature(m.forward).parameters],
)
def test_numbers_that_are_none_are_refused(name, option, value):
    sample = drawn(name, dtype=np.float32)
    with pytest.raises(ValueError, match="base" if option == "rope" else option):
        MECHANISMS[name].forward(*sample.inputs, **{**sample.options, option: value})


STEPS = ["dot_product", "expressive", "elliptical", "eigen", "kuramoto"]


def step_of(name):
    """A step of one token on a cache, and what it takes beside it."""
    sample = drawn(name, tokens=1)
    return getattr(pa.attention, f"{name}_step"), sample.inputs, sample.options


@pytest.mark.parametrize("name", [n for n in MECHANISMS if takes(n, "causal")])
@pytest.mark.parametrize("value", ["no", 1, [True], np.array([True, False])], ids=str)
def test_what_is_only_as_good_as_true_is_refused(name, value):
    sample = drawn(name)
    with pytest.raises(TypeError, match="pass True or False"):
        MECHANISMS[name].forward(*sample.inputs, **{**sample.options, "causal": value})
    same = [MECHANISMS[name].forward(*sample.inputs, **{**sample.options, "causal": x}) for x in (True, np.True_)]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("name", STEPS)
def test_a_refused_first_step_leaves_an_empty_cache(name):
    step, inputs, options = step_of(name)
    cache = pa.attention.EigenCache() if name == "eigen" else pa.attention.Cache()
    with pytest.raises(ValueError, match="mask"):
        step(*inputs, cache, **options, mask=np.ones((3, 3), bool))
    assert (cache.position, len(cache), cache.nbytes, cache.keys) == (0, 0, 0, None)
    single = {n: x.astype(np.float32) if isinstance(x, np.ndarray) else x for n, x in options.items()}
    assert step(*(x.astype(np.float32) for x in inputs), cache, **single).dtype == np.float32


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("before", [1, 16])
def test_an_interrupted_step_leaves_the_cache_as_it_was(name, before, monkeypatch):
    step, inputs, options = step_of(name)
    cache = pa.attention.EigenCache(window=16) if name == "eigen" else pa.attention.Cache(window=16)
    for _ in range(before):
        step(*inputs, cache, **options)
    kept = cache.position, len(cache), cache.keys.copy(), cache.values.copy()

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pa.attention.Cache, "trim", interrupted)
        with pytest.raises(KeyboardInterrupt):
            step(*inputs, cache, **options)
    for got, wanted in zip((cache.position, len(cache), cache.keys, cache.values), kept, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", [*STEPS, "squared", "linear"])
def test_what_is_no_cache_or_that_of_another_is_refused(name):
    step, inputs, options = step_of(name)
    wrong = pa.attention.SquaredState() if name != "squared" else pa.attention.LinearState()
    for cache in (wrong, None):
        with pytest.raises(TypeError, match=f"{type(cache).__name__}: .* is wanted; start with"):
            step(*inputs, cache, **options)


def test_a_cache_refuses_a_window_that_is_no_number():
    with pytest.raises(ValueError, match="window is True"):
        pa.attention.Cache(window=True)


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        (
            0,
            {},
            r"missing a required argument: 'q': vjp\('dot_product', q, k, v\) is wanted, with options among",
        ),
        (2, {}, "missing a required argument: 'v'"),
        (3, {"casual": True}, "got an unexpected keyword argument 'casual': .* with options among causal, mask, scale"),
        (4, {}, "too many positional arguments"),
    ],
)
def test_what_a_pullback_takes_is_said(inputs, options, says):
    with pytest.raises(TypeError, match=says):
        pa.attention.vjp("dot_product", *np.ones((4, 1, 2))[:inputs], **options)


def test_a_wrong_name_is_refused():
    with pytest.raises(ValueError, match="'dot_product'"):
        pa.attention.vjp("dot-product", np.eye(2), np.eye(2), np.eye(2))


@pytest.mark.cudasim
@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ["causal", "mask"])
def test_cuda_twin(name, dtype, case):
    sample = drawn(name, "causal" if takes(name, "causal") else "plain", dtype, batch=(1,), tokens=4)
    options = dict(sample.options)
    if case == "mask":
        if not takes(name, "mask"):
            pytest.skip("takes no mask")
        options["mask"] = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 0, 0]], bool)
    device = {n: pa.to_device(x) if isinstance(x, np.ndarray) else x for n, x in options.items()}
    out, pullback = pa.attention.vjp(name, *map(pa.to_device, sample.inputs), **device)
    dout = np.random.default_rng(5).standard_normal(out.shape).astype(dtype)
    grads = {n: pa.to_host(g) for n, g in pullback(pa.to_device(dout)).items()}
    wide = Sample(tuple(x.astype(float) for x in sample.inputs), options)
    atol = 1e-13 if dtype == np.float64 else 3e-6  # as on the CPU
    np.testing.assert_allclose(pa.to_host(out), oracle(name)(*wide.inputs, **wide.options), rtol=0, atol=atol)
    assert all(g.dtype == dtype for g in grads.values())
    assert gradient_error(name, wide, grads, dout.astype(float)) < (1e-11 if dtype == np.float64 else 1e-5)
