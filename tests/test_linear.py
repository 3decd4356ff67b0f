"""Linear attention: sums against pairs, blocks against rows, streaming, awkward numbers."""

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention._cores import scan_run
from tests.naive.linear import reference

attention = pa.attention


def draw(rng, queries, keys, width=5, depth=3, heads=2, key_heads=2, dtype=float):
    shapes = (2, heads, queries, width), (2, key_heads, keys, width), (2, key_heads, keys, depth)
    return tuple(rng.standard_normal(s).astype(dtype) for s in shapes)


def everything(q, k, v, **options):
    out, pullback = attention.vjp("linear", q, k, v, **options)
    return {"out": out, **pullback(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))}


@pytest.mark.parametrize(("queries", "keys", "window"), [(10, 3, 6), (10, 3, 9), (10, 3, 10), (70, 33, 50)])
def test_a_window_longer_than_the_keys_may_still_hide_some(queries, keys, window, rng):
    """The first queries stand far before the first key. Sums over all keys serve from a window of all queries on."""
    q, k, v = draw(rng, queries, keys)
    out = attention.linear(q, k, v, window=window)
    np.testing.assert_allclose(out, reference(q, k, v, window=window), rtol=0, atol=1e-13)
    assert ((out[:, :, 0] == 0).all()) == (window <= queries - keys)
    squared, pairs = (attention.squared(q, k, v, window=window, form=form) for form in ("auto", "quadratic"))
    np.testing.assert_allclose(squared, pairs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sizes", [(1, 1), (5, 9), (9, 5), (13, 13)])
@pytest.mark.parametrize("causal", [False, True])
def test_sums_equal_the_oracle_pairs_and_the_complex_step(sizes, causal, rng, monkeypatch):
    monkeypatch.setattr(scan_run, "BLOCK", 4)
    monkeypatch.setattr(scan_run, "_COLUMNS", 2)
    q, k, v = draw(rng, *sizes, heads=4)
    options = {"causal": causal, "mask": rng.random((2, 1, 1, sizes[1])) < 0.7}
    got = everything(q, k, v, **options)
    expected, table = reference(q, k, v, return_weights=True, **options)
    np.testing.assert_allclose(got["out"], expected, rtol=0, atol=1e-13)  # a dozen sums of numbers of size 1
    weights = attention.linear(q, k, v, return_weights=True, **options)[1]
    np.testing.assert_allclose(weights, table, rtol=0, atol=1e-13)
    pairs = everything(q, k, v, causal=causal, mask=np.broadcast_to(options["mask"], (2, 1, *sizes)).copy())
    with monkeypatch.context() as patch:
        patch.setattr(scan_run, "_forward_blocks", lambda *arguments: False)
        rows = everything(q, k, v, **options)
    dout = np.cos(np.arange(expected.size)).reshape(expected.shape)
    for name, x in (("q", q), ("k", k), ("v", v)):
        direction = rng.standard_normal(x.shape)
        step = {"q": q, "k": k, "v": v} | {name: x + 1e-30j * direction}
        slope = (reference(**step, **options) * dout).sum().imag / 1e-30
        for form in (got, rows, pairs):
            assert abs(slope - (form[name] * direction).sum()) / (1 + abs(slope)) < 1e-11


def test_float32_agrees_over_many_tokens(rng):
    q, k, v = (x[:1, :1] for x in draw(rng, 4000, 4000, 8, 40))
    exact = attention.linear(q, k, v, causal=True)
    single = attention.linear(*(x.astype(np.float32) for x in (q, k, v)), causal=True)
    # inputs are rounded to 24 bits; features and values are of size 1 to 4
    np.testing.assert_allclose(single, exact, rtol=0, atol=3e-6)


@pytest.mark.parametrize("steps", [(1,) * 20, (7, 1, 5, 1, 6)])
def test_streaming_equals_the_whole_sequence(steps, rng):
    q, k, v = draw(rng, 20, 20, 4, 3, heads=4)
    expected, state, start, outs = attention.linear(q, k, v, causal=True), attention.LinearState(), 0, []
    for n in steps:
        part = slice(start, start + n)
        outs.append(attention.linear_step(q[:, :, part], k[:, :, part], v[:, :, part], state))
        start += n
    np.testing.assert_allclose(np.concatenate(outs, axis=2), expected, rtol=0, atol=1e-13)
    assert state.nbytes == 8 * 4 * (4 * 3 + 4 + 2)
    with pytest.raises(ValueError, match="only the number of tokens"):
        attention.linear_step(q[:1], k[:1], v[:1], state)


def test_awkward_numbers(rng):
    q, k, v = draw(rng, 6, 6)
    q[:, :, 1] = -1e4  # every feature underflows
    q[:, :, 2] = 1e200
    k[:, :, 3] = 1e200
    v[:, :, 4] = np.nan
    out = attention.linear(q, k, v, causal=True)
    assert (out[:, :, 1] == 0).all()
    assert np.isfinite(out[:, :, :4]).all()
    np.testing.assert_allclose(out[:, :, 3], v[:, :, 3], rtol=0, atol=1e-12)  # it weighs all
    assert np.isnan(out[:, :, 4:]).all()
    assert (attention.linear(q, k, v, mask=np.zeros((1, 6), bool)) == 0).all()


@pytest.mark.cudasim
@pytest.mark.parametrize("causal", [False, True])
def test_cuda_twins(causal, rng):
    host = tuple(x[:1] for x in draw(rng, 3, 4, 2, 2, heads=2, key_heads=1))
    out, pullback = attention.vjp("linear", *map(pa.to_device, host), causal=causal)
    np.testing.assert_allclose(pa.to_host(out), reference(*host, causal=causal), rtol=0, atol=1e-13)
    expected = attention.vjp("linear", *host, causal=causal)[1](np.ones(out.shape))
    for name, gradient in pullback(pa.to_device(np.ones(out.shape))).items():
        np.testing.assert_allclose(pa.to_host(gradient), expected[name], rtol=0, atol=1e-12)


@pytest.mark.cudasim
def test_a_state_on_cuda_streams(rng):
    host = tuple(x[:1] for x in draw(rng, 4, 4, 2, 2, heads=2, key_heads=1))
    state, outs = attention.LinearState(), []
    for part in (slice(0, 1), slice(1, 4)):
        step = (np.ascontiguousarray(x[:, :, part]) for x in host)
        outs.append(pa.to_host(attention.linear_step(*map(pa.to_device, step), state)))
    np.testing.assert_allclose(np.concatenate(outs, axis=2), reference(*host, causal=True), rtol=0, atol=1e-13)
