"""Every mechanism at the edge: the future, rows of one key or none, NaN and inf, huge numbers."""

import inspect
import tracemalloc

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS

TOKENS, FIRST = 70, 41  # more than a tile of queries; the first token that is changed
FORMS = [(name, {}) for name in MECHANISMS]
FORMS += [("squared", {"form": "linear"}), ("resonant", {"form": "softmax"}), ("elliptical", {"metric": "distance"})]
FORMS += [("kuramoto", {"coupling": np.array([[[0.5]], [[0.3 - 0.2j]]]), "strict": True})]


def drawn(name, tokens=TOKENS, **options):
    inputs, more = MECHANISMS[name].sample(np.random.default_rng(0), tokens=tokens, batch=(1,))
    return list(inputs), {**more, **options}


def changed(x, tokens, by):
    """A copy in which these tokens are others."""
    x = x.copy()
    x[..., tokens, :] = by(x[..., tokens, :])
    return x


def everything(name, inputs, options, dout=None):
    out, pullback = pa.attention.vjp(name, *inputs, **options)
    return out, pullback(np.ones_like(out) if dout is None else dout)


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
def test_the_future_has_no_influence_on_a_bit(name, form):
    inputs, options = drawn(name, causal=True, **form)
    out, weights = MECHANISMS[name].forward(*inputs, **options, return_weights=True)
    later = [changed(x, slice(FIRST, None), lambda x: 1 - 3 * x) for x in inputs]
    moved, moved_weights = MECHANISMS[name].forward(*later, **options, return_weights=True)
    np.testing.assert_array_equal(moved[..., :FIRST, :], out[..., :FIRST, :])
    np.testing.assert_array_equal(moved_weights[..., :FIRST, :], weights[..., :FIRST, :])
    assert abs(moved - out)[..., FIRST:, :].max() > 1e-3
    assert (np.triu(weights, 1) == 0).all()
    dout = changed(np.random.default_rng(1).standard_normal(out.shape), slice(FIRST, None), np.zeros_like)
    _, grads = everything(name, inputs, options, dout)
    for argument in MECHANISMS[name].inputs:
        assert (grads[argument][..., FIRST:, :] == 0).all(), argument
        assert abs(grads[argument][..., :FIRST, :]).max() > 0


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("tokens", [5, TOKENS])
def test_rows_of_one_key_and_of_none(name, tokens):
    mask = np.random.default_rng(2).random((tokens, tokens)) < 0.5
    mask[2], mask[3] = False, False
    mask[3, 1] = True
    inputs, options = drawn(name, tokens, mask=mask)
    out, weights = MECHANISMS[name].forward(*inputs, **options, return_weights=True)
    stays = inputs[0] if name == "kuramoto" else np.zeros_like(out)  # phases that see nothing do not turn
    np.testing.assert_array_equal(out[..., 2, :], stays[..., 2, :])
    assert (weights[..., 2, :] == 0).all()
    assert (np.delete(weights[..., 3, :], 1, axis=-1) == 0).all()
    assert abs(out - MECHANISMS[name].reference(*inputs, **options)).max() < 1e-12
    if name not in ("kuramoto", "eigen", "position_only"):  # of which the value is not the output
        np.testing.assert_allclose(out[..., 3, :], inputs[-1][..., 1, :], rtol=1e-3)  # eps has its share
    dout = changed(np.zeros_like(out), 2, np.ones_like)
    _, grads = everything(name, inputs, options, dout)
    for argument, gradient in grads.items():
        expected = dout if name == "kuramoto" and argument == "theta" else np.zeros_like(gradient)
        np.testing.assert_array_equal(gradient, expected, err_msg=argument)


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_with_those_who_may_see_it(name, value):
    inputs, options = drawn(name, causal=True)
    out, grads = everything(name, inputs, options)
    poisoned = [changed(x, FIRST, lambda x: np.full_like(x, value)) for x in inputs]
    got, got_grads = everything(name, poisoned, options, changed(np.ones_like(out), slice(FIRST, None), np.zeros_like))
    # another loop takes over, in another order
    np.testing.assert_allclose(got[..., :FIRST, :], out[..., :FIRST, :], rtol=0, atol=1e-12)
    assert not np.isfinite(got[..., FIRST, :]).all()
    for argument in MECHANISMS[name].inputs:
        assert np.isfinite(got_grads[argument][..., :FIRST, :]).all(), argument
        assert np.isfinite(grads[argument]).all()


@pytest.mark.parametrize("name", MECHANISMS)
@pytest.mark.parametrize(("dtype", "factor"), [(np.float64, 1e150), (np.float32, 1e18)])
def test_huge_numbers_give_finite_numbers(name, dtype, factor):
    """What is compared with keys is huge; for mechanisms of values alone, the values."""
    inputs, options = MECHANISMS[name].sample(np.random.default_rng(0), tokens=9, dtype=dtype)
    inputs = [inputs[0] * dtype(factor), *inputs[1:]]
    if "causal" in inspect.signature(MECHANISMS[name].forward).parameters:
        options = {**options, "causal": True}
    out, grads = everything(name, inputs, options)
    assert np.isfinite(out).all()
    assert all(np.isfinite(grads[argument]).all() for argument in MECHANISMS[name].inputs)
    if len(inputs) == 3 and name != "eigen":  # means of values: within their range
        low, high = (f(inputs[2], axis=-2, keepdims=True) for f in (np.min, np.max))
        slack = 1e-5 * (1 + abs(high) + abs(low))
        assert (np.minimum(low, 0) - slack <= out).all()
        assert (out <= np.maximum(high, 0) + slack).all()


#: The table of `position_only` is its parameter.
WITHOUT_TABLE = [(name, form) for name, form in FORMS if name != "position_only"]


@pytest.mark.parametrize(("name", "form"), WITHOUT_TABLE, ids=str)
def test_no_table_of_all_pairs_is_stored(name, form):
    tokens = 3000  # beyond the longest tile of columns
    inputs, options = MECHANISMS[name].sample(np.random.default_rng(0), tokens=tokens, batch=(), heads=1)
    options = {**options, "causal": True, **form}
    everything(name, [x[..., :8, :] for x in inputs], cut(options, tokens, 8))  # compiled
    tracemalloc.start()
    everything(name, inputs, options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * tokens**2 / 4


def cut(options, tokens, n):
    """Options that tokens have, of the first n."""
    axis = {name: -3 if name.endswith("orientation") else -2 for name in options}

    def first(name, x):
        own = isinstance(x, np.ndarray) and x.ndim >= -axis[name] and x.shape[axis[name]] == tokens
        return np.take(x, range(n), axis=axis[name]) if own else x

    return {name: first(name, x) for name, x in options.items()}
