"""Every mechanism at the edge: one key or none, masked tokens, NaN and inf, huge numbers, memory."""

import inspect
import tracemalloc

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS

TOKENS, HERE = 70, 41  # more than a tile of queries, and the token that is spoilt
FORMS = [(name, {}) for name in MECHANISMS]
FORMS += [("elliptical", {"metric": "distance"}), ("squared", {"form": "linear"})]


def takes(name, option):
    return option in inspect.signature(MECHANISMS[name].forward).parameters


MASKED = [(name, form) for name, form in FORMS if takes(name, "mask") and "form" not in form]


def drawn(name, tokens=TOKENS, dtype=np.float64, **options):
    sample = MECHANISMS[name].sample(np.random.default_rng(0), batch=(1,), tokens=tokens, dtype=dtype)
    return list(sample.inputs), {**sample.options, **options}


def with_token(x, token, value):
    x = x.copy()
    x[..., token, :] = value
    return x


def everything(name, inputs, options, dout=None):
    out, pullback = pa.attention.vjp(name, *inputs, **options)
    return out, pullback(np.ones_like(out) if dout is None else dout)


@pytest.mark.parametrize(("name", "form"), MASKED, ids=str)
@pytest.mark.parametrize("tokens", [5, TOKENS])
def test_rows_of_one_key_and_of_none(name, form, tokens):
    mask = np.random.default_rng(2).random((tokens, tokens)) < 0.5
    mask[2], mask[3] = False, np.arange(tokens) == 1
    inputs, options = drawn(name, tokens, mask=mask, **form)
    out, weights = MECHANISMS[name].forward(*inputs, **options, return_weights=True)
    np.testing.assert_allclose(out, MECHANISMS[name].reference(*inputs, **options), rtol=0, atol=1e-12)
    stays = inputs[0] if name == "kuramoto" else np.zeros_like(out)  # phases that see nothing do not turn
    np.testing.assert_array_equal(out[..., 2, :], stays[..., 2, :])
    assert (weights[..., 2, :] == 0).all()
    assert (np.delete(weights[..., 3, :], 1, axis=-1) == 0).all()
    dout = with_token(np.zeros_like(out), 2, 1)
    for argument, gradient in everything(name, inputs, options, dout)[1].items():
        expected = dout if name == "kuramoto" and argument == "theta" else np.zeros_like(gradient)
        np.testing.assert_array_equal(gradient, expected, err_msg=argument)


@pytest.mark.parametrize(("name", "form"), MASKED, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_query_without_a_key_gets_zeros_whatever_the_values_hold(name, form, value):
    mask = np.ones((TOKENS, TOKENS), bool)
    mask[2] = False
    inputs, options = drawn(name, mask=mask, **form)
    inputs[-1] = with_token(inputs[-1], HERE, value)
    out = MECHANISMS[name].forward(*inputs, **options)
    stays = inputs[0] if name == "kuramoto" else np.zeros_like(out)
    np.testing.assert_array_equal(out[..., 2, :], stays[..., 2, :])


@pytest.mark.parametrize("queries", [1, 2, 4])
def test_few_queries_without_a_key(queries):
    q, k, v, mask = np.ones((queries, 4)), np.ones((1, 4)), np.full((1, 3), np.nan), np.zeros((queries, 1), bool)
    for name, form in MASKED:
        if MECHANISMS[name].inputs == ("q", "k", "v"):
            more = {"relevance": np.ones(4)} if name == "elliptical" else {}
            more |= {"basis_key": np.eye(4), "basis_value": np.eye(3)} if name == "eigen" else {}
            out = MECHANISMS[name].forward(q, k, v, mask=mask, **form, **more)
            np.testing.assert_array_equal(out, np.zeros((queries, 3)), err_msg=name)


@pytest.mark.parametrize(("name", "form"), MASKED, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_token_that_neither_attends_nor_is_attended_has_no_influence(name, form, value):
    others = np.arange(TOKENS) != HERE
    inputs, options = drawn(name, mask=others[:, None] & others, **form)
    out, grads = everything(name, inputs, options, with_token(np.ones_like(drawn(name)[0][-1]), HERE, 0))
    spoilt = [with_token(x, HERE, value) for x in inputs]
    got, got_grads = everything(name, spoilt, options, with_token(np.ones_like(out), HERE, 0))
    # rows take over from tiles, in another order
    np.testing.assert_allclose(got[..., others, :], out[..., others, :], rtol=0, atol=1e-12)
    for argument in MECHANISMS[name].inputs:
        expected = grads[argument][..., others, :]
        np.testing.assert_allclose(got_grads[argument][..., others, :], expected, rtol=0, atol=1e-10, err_msg=argument)


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_with_those_who_may_see_it(name, form, value):
    inputs, options = drawn(name, causal=True, **form)
    out = MECHANISMS[name].forward(*inputs, **options)
    got = MECHANISMS[name].forward(*(with_token(x, HERE, value) for x in inputs), **options)
    # rows take over from tiles, in another order
    np.testing.assert_allclose(got[..., :HERE, :], out[..., :HERE, :], rtol=0, atol=1e-12)
    if np.isnan(value):
        assert np.isnan(got[..., HERE, :]).any()


@pytest.mark.parametrize(("name", "form"), FORMS, ids=str)
@pytest.mark.parametrize(("dtype", "factor"), [(np.float64, 1e150), (np.float64, 1e300), (np.float32, 1e30)])
def test_huge_numbers_give_finite_numbers(name, form, dtype, factor):
    """What is compared with keys is huge; for mechanisms of values alone, the values."""
    inputs, options = drawn(name, 9, dtype, causal=True, **form)
    inputs[0] *= dtype(factor)
    out = MECHANISMS[name].forward(*inputs, **options)
    assert np.isfinite(out).all()
    if len(inputs) == 3 and name != "eigen":  # means of values
        low, high = (f(inputs[2], axis=-2, keepdims=True) for f in (np.min, np.max))
        slack = 1e-5 * (1 + abs(high) + abs(low))
        assert (np.minimum(low, 0) - slack <= out).all()
        assert (out <= np.maximum(high, 0) + slack).all()


def peak(name, form, tokens):
    sample = MECHANISMS[name].sample(np.random.default_rng(0), batch=(), heads=1, tokens=tokens)
    options = {**sample.options, "causal": True, **form}
    tracemalloc.start()
    try:
        everything(name, sample.inputs, options)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


#: `position_only` is given a table, unless it convolves, see below.
WITHOUT_TABLE = [(name, form) for name, form in FORMS if name != "position_only"]


@pytest.mark.parametrize(("name", "form"), WITHOUT_TABLE, ids=str)
def test_no_table_of_all_pairs_is_stored(name, form):
    few, many = peak(name, form, 2048), peak(name, form, 4096)
    assert many < 2.2 * few, (few, many)
    assert many < 8 * 4096**2 / 8, many


@pytest.mark.parametrize("symmetric", ["shift", "lattice"])
def test_a_convolution_stores_no_table_of_all_pairs(rng, symmetric):
    def peak(tokens):
        v, alpha = rng.standard_normal((tokens, 4)), rng.standard_normal(tokens)
        causal = symmetric == "shift"
        options = {"symmetry": "shift" if causal else tokens, "causal": causal, "form": "convolution"}
        tracemalloc.start()
        try:
            MECHANISMS["position_only"].vjp(v, alpha=alpha, **options)[1](v)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(2048), peak(4096)
    assert many < 2.5 * few, (few, many)
    assert many < 4096**2, many
