"""Softmax attention: tiles against rows, threads, memory, NaN, streaming, positions, labels, refusals."""

import tracemalloc
from functools import partial

import numba
import numpy as np
import pytest

import primeattn as pa
from primeattn._runtime.strips import ROWS
from primeattn.attention import _cache
from primeattn.attention._cores import run
from primeattn.attention._cores.packing import START
from tests import tile_checks
from tests.naive.dot_product import reference, turned
from tests.tile_checks import assert_close, draw

attention = pa.attention


everything = partial(tile_checks.everything, "dot_product")


@pytest.fixture
def by_rows(monkeypatch):
    """The specification: `everything` by rows."""
    return tile_checks.specification("dot_product", monkeypatch)


@pytest.mark.parametrize("tile", [(ROWS, START), (3 * ROWS, 2 * START), None])
@pytest.mark.parametrize("sizes", [(1, 1), (2, 170), (33, 170), (70, 33), (65, 65)])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"causal": True},
        {"window": 9},
        {"causal": True, "window": 2, "alibi": [0.1, 0.7]},
        {"causal": True, "mask": "some"},
        {"mask": "keys"},
        {"mask": "queries"},
        {"mask": "none"},
    ],
    ids=str,
)
def test_tiles_equal_rows(tile, sizes, options, rng, by_rows, monkeypatch):
    q, k, v = draw(rng, *sizes, heads=2, key_heads=1)
    masks = {
        "some": rng.random((2, 1, *sizes)) < 0.5,
        "keys": rng.random(sizes[1]) < 0.5,
        "queries": rng.random((2, sizes[0], 1)) < 0.5,
        "none": np.zeros((1, 1), bool),
    }
    if "mask" in options:
        options = {**options, "mask": masks[options["mask"]]}
    if tile:
        monkeypatch.setattr(run, "strip_sizes", lambda g: tile)
    assert_close(everything(q, k, v, **options), by_rows(q, k, v, **options))


def test_rows_and_tiles_agree_in_float32(rng, by_rows):
    arrays = draw(rng, 70, 130, 8, 9, dtype=np.float32)
    assert_close(everything(*arrays, causal=True), by_rows(*arrays, causal=True), np.float32)


@pytest.mark.parametrize("queries", [3, 8])
def test_grouped_heads_of_unequal_lengths_equal_the_oracle(queries, rng):
    q, k, v = draw(rng, queries, 5, heads=6, key_heads=2)
    options = {"causal": True, "scale": 0.7, "alibi": np.linspace(0, 1, 12).reshape(2, 6), "rope": None}
    got = everything(q, k, v, **options)
    np.testing.assert_allclose(got["out"], reference(q, k, v, **options), rtol=0, atol=1e-13)
    dout = np.cos(np.arange(got["out"].size)).reshape(got["out"].shape)
    for name, x in (("k", k), ("v", v)):
        step = {"q": q, "k": k, "v": v} | {name: x + 1e-30j * np.sin(np.arange(x.size)).reshape(x.shape)}
        slope = (reference(**step, **options) * dout).sum().imag / 1e-30
        assert abs(slope - (got[name] * np.sin(np.arange(x.size)).reshape(x.shape)).sum()) < 1e-11 * (1 + abs(slope))


@pytest.mark.parametrize("key_heads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_a_bit(key_heads, dtype, rng, monkeypatch):
    q, k, v = (x[:1] for x in draw(rng, 150, 170, 8, 8, 3, key_heads, dtype))
    q, before = q[:, :key_heads], numba.get_num_threads()
    results = []
    for threads in (1, 2, 7):  # 1: all gradients of a head in one unit; more: two gathers by shares of tiles
        monkeypatch.setattr(run, "get_num_threads", lambda n=threads: n)
        results.append(everything(q, k, v, causal=True, alibi=0.1))
    assert numba.get_num_threads() == before
    for other in results[1:]:
        for name, x in results[0].items():
            np.testing.assert_array_equal(x, other[name], err_msg=name)


def test_memory_is_that_of_results_and_a_few_tiles(rng):
    tokens, width = 4096, 16
    x = rng.standard_normal((tokens, width)).astype(np.float32)
    out, pullback = attention.vjp("dot_product", x, x, x, causal=True)  # compiled, buffers of BLAS in place
    pullback(out)
    del out, pullback
    tracemalloc.start()
    out, pullback = attention.vjp("dot_product", x, x, x, causal=True)
    grads = pullback(out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    results = out.nbytes + sum(g.nbytes for g in grads.values()) + 3 * 4 * tokens  # lse, its sums, delta
    # two threads, each with a tile of 384 keys packed six times, 32 wide, and two tiles of 96 x 416 numbers; a table
    # would be 64 MB
    assert peak < results + 2 * 4 * (6 * 390 * 32 + 2 * 96 * 416) + 100_000


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_nan_and_inf_reach_only_those_who_may_see_them(poison, rng):
    q, k, v = draw(rng, 70, 70)
    clean = everything(q, k, v, causal=True)
    k, v = k.copy(), v.copy()
    k[:, :, 40], v[:, :, 40] = poison, poison
    got = everything(q, k, v, causal=True)
    np.testing.assert_allclose(got["out"][:, :, :40], clean["out"][:, :, :40], rtol=0, atol=1e-13)
    assert np.isnan(got["out"][:, :, 69]).any()
    mask = np.arange(70) != 40
    without = everything(
        np.where(mask[:, None], q, 0), np.where(mask[:, None], k, 0), np.where(mask[:, None], v, 0), mask=mask
    )
    got = everything(np.where(mask[:, None], q, 0), k, v, mask=mask)
    assert_close(got, without)


def test_nan_in_the_upstream_gradient_reaches_only_what_its_query_saw(rng):
    q, k, v = draw(rng, 70, 70)
    out, pullback = attention.vjp("dot_product", q, k, v, causal=True)
    dout = np.ones_like(out)
    dout[:, :, 10] = np.nan
    grads = pullback(dout)
    assert np.isfinite(grads["v"][:, :, 11:]).all()
    assert np.isfinite(np.delete(grads["q"], 10, axis=2)).all()
    assert np.isnan(grads["v"][:, :, :11]).all()


def test_every_score_nan_is_nan_and_no_key_is_zero(rng):
    q, k, v = draw(rng, 5, 5)
    q[:, :, 2] = np.nan
    mask = np.arange(5)[:, None] != 3
    out, weights = attention.dot_product(q, k, v, mask=mask, return_weights=True)
    assert np.isnan(out[:, :, 2]).all()
    assert (out[:, :, 3] == 0).all()
    assert (weights[:, :, 3] == 0).all()
    assert np.isfinite(out[:, :, [0, 1, 4]]).all()
    grads = everything(np.nan_to_num(q), k, v, mask=mask)
    assert (grads["q"][:, :, 3] == 0).all()
    assert all(np.isfinite(g).all() for g in grads.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_any_finite_size_are_safe(dtype):
    k = np.array([[1.0, 0], [0, 1], [-1, 0]], dtype)
    q = np.array([[1e30, 1e29]], dtype)
    out, weights = attention.dot_product(q, k, k, return_weights=True)
    np.testing.assert_array_equal(weights, [[1, 0, 0]])
    np.testing.assert_array_equal(out, k[:1])
    for big in (q, -q):
        grads = everything(big, k, k)
        assert all(np.isfinite(g).all() for g in grads.values())


def test_an_overflowing_score_is_nan_or_weighs_nothing():
    q, k, v = np.array([[2.0], [-2.0]]), np.array([[np.finfo(float).max], [1.0]]), np.array([[1.0], [3.0]])
    np.testing.assert_array_equal(attention.dot_product(q, k, v, scale=1.0), [[np.nan], [3.0]])
    np.testing.assert_array_equal(attention.dot_product(q[1:], k, v, scale=1.0), [[3.0]])


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_in_nothing_out(queries, keys, rng):
    q, k, v = draw(rng, queries, keys)
    got = everything(q, k, v)
    assert got["out"].shape == (2, 2, queries, 3)
    for name, x in (("q", q), ("k", k), ("v", v)):
        assert got[name].shape == x.shape
        assert (got[name] == 0).all()
    assert (got["out"] == 0).all()


def test_integers_become_float64():
    x = np.arange(6).reshape(3, 2)
    np.testing.assert_array_equal(attention.dot_product(x, x, x), attention.dot_product(x * 1.0, x * 1.0, x * 1.0))


@pytest.mark.parametrize("steps", [(1,) * 20, (7, 1, 5, 1, 6), (20,)])
@pytest.mark.parametrize(
    "options", [{}, {"window": 4}, {"rope": 50.0, "alibi": [0.1, 0.2, 0.3, 0.4], "window": 6}, {"scale": 2.0}], ids=str
)
def test_streaming_equals_the_whole_sequence(steps, options, rng):
    q, k, v = draw(rng, 20, 20, 4, 3, heads=4, key_heads=2)
    expected = attention.dot_product(q, k, v, causal=True, **options)
    cache = attention.Cache(options.get("window"))
    rest = {n: o for n, o in options.items() if n != "window"}
    start, outs = 0, []
    for n in steps:
        part = slice(start, start + n)
        outs.append(attention.dot_product_step(q[:, :, part], k[:, :, part], v[:, :, part], cache, **rest))
        start += n
    np.testing.assert_allclose(np.concatenate(outs, axis=2), expected, rtol=0, atol=1e-13)
    assert cache.position == 20
    assert len(cache) == min(20, options.get("window", 20))
    np.testing.assert_array_equal(cache.values, v[:, :, 20 - len(cache) :])


def test_a_windowed_cache_stays_small(rng):
    cache, x = attention.Cache(window=8), rng.standard_normal((1, 4))
    for _ in range(200):
        attention.dot_product_step(x, x, x, cache)
    assert cache.nbytes <= 2 * 2 * 16 * 4 * 8
    assert "8 of 200" in repr(cache)


def test_a_refused_step_leaves_the_cache_as_it_was(rng):
    cache, x = attention.Cache(), rng.standard_normal((2, 1, 4))
    attention.dot_product_step(x, x, x, cache)
    kept = cache.keys.copy()
    for bad, match in ((x[:1], "cache holds"), (x.astype(np.float32), "cache holds"), (x[..., :2], "cache holds")):
        with pytest.raises(ValueError, match=match):
            attention.dot_product_step(bad, bad, bad, cache)
    with pytest.raises(ValueError, match="scale"):
        attention.dot_product_step(x, x, x, cache, scale=np.nan)
    with pytest.raises(ValueError, match="a query for every key"):
        attention.dot_product_step(x, np.repeat(x, 2, 1), np.repeat(x, 2, 1), cache)
    with pytest.raises(ValueError, match="window"):
        attention.Cache(0)
    assert (cache.position, len(cache)) == (1, 1)
    np.testing.assert_array_equal(cache.keys, kept)


def test_rope_turns_pairs_and_back(rng):
    x = rng.standard_normal((2, 3, 5, 6))
    for layout in ("halves", "interleaved"):
        got = attention.rope(x, [3, 1, 4, 1, 5.5], 100.0, layout=layout)
        np.testing.assert_allclose(
            got, turned(x, [3, 1, 4, 1, 5.5], 100.0, layout == "interleaved"), atol=1e-14, rtol=0
        )
        back = attention.rope(got, [3, 1, 4, 1, 5.5], 100.0, layout=layout, inverse=True)
        np.testing.assert_allclose(back, x, atol=1e-14, rtol=0)  # its transpose is its inverse: the gradient, too
    each = rng.integers(0, 9, (2, 1, 5))
    got = attention.rope(x, each)
    for b in range(2):
        np.testing.assert_array_equal(got[b], attention.rope(x[b], each[b, 0]))
    np.testing.assert_allclose(attention.rope(x.astype("f4")), attention.rope(x), atol=1e-6, rtol=0)


def test_rope_makes_scores_relative(rng):
    q, k = rng.standard_normal((2, 1, 8))
    scores = [attention.rope(q, [s + 4]) @ attention.rope(k, [s]).T for s in (0, 17, 1000)]
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], (3, 1, 1)), rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: attention.rope(x[..., :3]), "even width"),
        (lambda x: attention.rope(x, layout="pairs"), "'halves'"),
        (lambda x: attention.rope(x, [1, 2]), "broadcast"),
        (lambda x: attention.rope(x, base=0.0), "base"),
        (lambda x: attention.alibi_slopes(0), "heads"),
    ],
)
def test_positions_that_do_not_fit_are_refused(call, match, rng):
    with pytest.raises(ValueError, match=match):
        call(rng.standard_normal((3, 4)))


def test_alibi_slopes_are_those_published():
    np.testing.assert_allclose(attention.alibi_slopes(8), 2.0 ** -np.arange(1, 9), rtol=1e-15)  # section 3 of the paper
    twelve = attention.alibi_slopes(12)  # the authors' rule for other numbers of heads
    np.testing.assert_allclose(twelve[:8], attention.alibi_slopes(8), rtol=1e-15)
    np.testing.assert_allclose(twelve[8:], attention.alibi_slopes(16)[0:8:2], rtol=1e-15)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"k": np.ones((2, 2, 5, 4))}, ValueError, r"pass k\[..., :5\]"),
        ({"v": np.ones((2, 2, 4, 3))}, ValueError, "every key needs its value"),
        ({"q": np.ones(5)}, ValueError, r"pass q\[None\]"),
        ({"q": np.ones((2, 3, 5, 5))}, ValueError, "multiple"),
        ({"v": np.ones((2, 2, 5, 0))}, ValueError, "at least 1"),
        ({"q": np.ones((2, 2, 5, 5), complex)}, TypeError, "pass q.real"),
        ({"mask": np.ones((5, 5))}, TypeError, "boolean"),
        ({"mask": np.ones((5, 4), bool)}, ValueError, "broadcast to"),
        ({"mask": np.ones((3, 2, 2, 5, 5), bool)}, ValueError, "broadcast to"),
        ({"window": 0}, ValueError, "1 or more"),
        ({"window": 2.5}, ValueError, "1 or more"),
        ({"window": True}, ValueError, "1 or more"),
        ({"scale": np.inf}, ValueError, "finite"),
        ({"scale": "big"}, ValueError, "finite"),
        ({"alibi": [1, 2, 3]}, ValueError, "one slope a head"),
        ({"alibi": [1, np.nan]}, ValueError, "finite"),
        ({"rope": 100.0}, ValueError, "q has width 5: .* even width"),
    ],
)
def test_what_does_not_fit_is_refused(change, error, match, rng):
    q, k, v = draw(rng, 5, 5)
    arguments = {"q": q, "k": k, "v": v, **change}
    with pytest.raises(error, match=match):
        attention.dot_product(**arguments)


def test_labels_come_back(rng):
    xr = pytest.importorskip("xarray")
    q, k, v = draw(rng, 4, 5)
    time = {"time": [10, 20, 30, 40]}
    lq = xr.DataArray(q, dims=("batch", "head", "time", "width"), coords=time)
    lk = xr.DataArray(k, dims=("batch", "head", "key", "width"), coords={"key": list("abcde")})
    lv = xr.DataArray(v, dims=("batch", "head", "key", "value"), coords={"value": [7, 8, 9]})
    out, weights = attention.dot_product(lq, lk.transpose("head", "batch", ...), lv, return_weights=True)
    plain, plain_weights = attention.dot_product(q, k, v, return_weights=True)
    assert out.dims == ("batch", "head", "time", "value")
    assert list(out.time) == [10, 20, 30, 40]
    assert list(out.value) == [7, 8, 9]
    assert weights.dims == ("batch", "head", "time", "key")
    assert "".join(weights.key.values) == "abcde"
    np.testing.assert_array_equal(out, plain)
    np.testing.assert_array_equal(weights, plain_weights)
    _, own = attention.dot_product(lq, lq, lq, return_weights=True)
    assert own.dims == ("batch", "head", "time", "key_time")
    assert list(own.key_time) == [10, 20, 30, 40]
    out, pullback = attention.vjp("dot_product", lq, lk, lv, rope=None)
    grads = pullback(out)
    assert grads["k"].dims == lk.dims
    np.testing.assert_array_equal(grads["k"], attention.vjp("dot_product", q, k, v)[1](plain)["k"])
    with pytest.raises(TypeError, match="no labels"):
        attention.dot_product(lq, k, lv)
    with pytest.raises(ValueError, match="leading ones"):
        attention.dot_product(lq, lk.rename(batch="other"), lv)
    np.testing.assert_array_equal(attention.rope(lq[..., :4]), attention.rope(q[..., :4]))


@pytest.mark.cudasim
def test_cuda_twins_with_groups_slopes_and_rope(rng):
    q, k, v = draw(rng, 3, 4, 4, 2, heads=2, key_heads=1)
    options = {"causal": True, "window": 3, "alibi": [0.2, 0.4], "rope": 10.0}
    out, weights = attention.dot_product(*map(pa.to_device, (q, k, v)), **options, return_weights=True)
    expected, expected_weights = reference(q, k, v, **options, return_weights=True)
    np.testing.assert_allclose(pa.to_host(out), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(pa.to_host(weights), expected_weights, rtol=0, atol=1e-13)
    with pytest.raises(TypeError, match="to_device"):
        attention.dot_product(pa.to_device(q), k, v)


@pytest.mark.cudasim
def test_a_cache_on_cuda_streams(rng):
    q, k, v = draw(rng, 19, 19, 4, 2, heads=2, key_heads=1)
    options = {"alibi": [0.2, 0.4], "rope": 10.0}
    expected = reference(q, k, v, causal=True, window=5, **options)
    cache = attention.Cache(window=5)
    for start, stop in ((0, 2), (2, 3), (3, 17), (17, 18), (18, 19)):  # buffers of 16 move, and their start
        part = (pa.to_device(x[:, :, start:stop]) for x in (q, k, v))
        out = pa.to_host(attention.dot_product_step(*part, cache, **options))
        np.testing.assert_allclose(out, expected[:, :, start:stop], rtol=0, atol=1e-13)
    np.testing.assert_array_equal(pa.to_host(cache.values), v[:, :, 14:])
    with pytest.raises(TypeError, match="start another Cache"):
        attention.dot_product_step(q[:, :, :1], k[:, :, :1], v[:, :, :1], cache)
    host = attention.Cache()
    attention.dot_product_step(q[:, :, :1], k[:, :, :1], v[:, :, :1], host)
    with pytest.raises(TypeError, match="start another Cache"):
        attention.dot_product_step(*(pa.to_device(x[:, :, :1]) for x in (q, k, v)), host)


def test_rows_are_placed_alike_by_the_loop_and_by_slices(rng):
    x, out = rng.standard_normal((3, 5, 2)), np.zeros((3, 7, 2))
    _cache.PLACE(9, x.reshape(-1), 3, 5, 1, out.reshape(-1), 7, 4, 2)
    expected = np.zeros_like(out)
    expected[:, 4:7] = x[:, 1:4]
    np.testing.assert_array_equal(out, expected)
