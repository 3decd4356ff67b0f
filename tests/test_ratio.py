"""Ratio-normalised attention: tiles against rows, eps, huge and orthogonal scores, sums over windows, streaming."""

import itertools
import os
import subprocess
import sys
import tracemalloc
from functools import partial

import numba
import numpy as np
import pytest

import primeattn as pa
from primeattn._runtime.strips import ROWS
from primeattn.attention import _expressive
from primeattn.attention._cores import ratio_run, ratio_sums, run
from primeattn.attention._cores.layout import Layout
from primeattn.attention._cores.packing import START
from primeattn.attention._inputs import check_call
from tests import tile_checks
from tests.naive.expressive import reference
from tests.tile_checks import assert_close, draw

attention = pa.attention
PARAMS = _expressive.Expressive()


everything = partial(tile_checks.everything, "expressive")


@pytest.fixture
def by_rows(monkeypatch):
    """The specification: `everything` by rows."""
    return tile_checks.specification("expressive", monkeypatch)


@pytest.mark.parametrize("tile", [(ROWS, START), (3 * ROWS, 2 * START), None])
@pytest.mark.parametrize("sizes", [(1, 1), (2, 170), (33, 170), (70, 33)])
@pytest.mark.parametrize(
    "options",
    [{}, {"causal": True}, {"window": 9}, {"causal": True, "mask": "some"}, {"mask": "keys"}, {"mask": "none"}],
    ids=str,
)
def test_tiles_equal_rows(tile, sizes, options, rng, by_rows, monkeypatch):
    q, k, v = draw(rng, *sizes, heads=2, key_heads=1)
    masks = {
        "some": rng.random((2, 1, *sizes)) < 0.5,
        "keys": rng.random(sizes[1]) < 0.5,
        "none": np.zeros((1, 1), bool),
    }
    if "mask" in options:
        options = {**options, "mask": masks[options["mask"]]}
    if tile:
        monkeypatch.setattr(run, "strip_sizes", lambda g: tile)
    options["eps"] = 1e-2  # the derivatives of a row with a single small score stay below 10
    assert_close(everything(q, k, v, **options), by_rows(q, k, v, **options))


def test_rows_and_tiles_agree_in_float32(rng, by_rows):
    arrays = draw(rng, 70, 130, 8, 9, dtype=np.float32)
    assert_close(everything(*arrays, causal=True), by_rows(*arrays, causal=True), np.float32)


def slope_error(function, arrays, gradients, dout, rng):
    """Hand-derived gradients against the complex step along random directions, relative."""
    worst = 0.0
    for n, gradient in enumerate(gradients):
        direction = rng.standard_normal(arrays[n].shape)
        moved = [x + 1e-30j * direction if i == n else x for i, x in enumerate(arrays)]
        expected = (function(*moved) * dout).sum().imag / 1e-30
        worst = max(worst, abs(expected - (gradient.reshape(direction.shape) * direction).sum()) / (1 + abs(expected)))
    return worst


@pytest.mark.parametrize("queries", [3, 8])
def test_grouped_heads_of_unequal_lengths_equal_the_oracle(queries, rng):
    arrays = draw(rng, queries, 5, heads=6, key_heads=2)
    options = {"causal": True, "scale": 0.7, "eps": 0.1}
    got = everything(*arrays, **options)
    np.testing.assert_allclose(got["out"], reference(*arrays, **options), rtol=0, atol=1e-13)
    dout = np.cos(np.arange(got["out"].size)).reshape(got["out"].shape)
    gradients = [got[n] for n in "qkv"]
    assert slope_error(lambda *a: reference(*a, **options), arrays, gradients, dout, rng) < 1e-11


def relative(q, k, v, mask, rate, scale):
    """z^2 / (1 + z^2) with eps_i = rate scale^2 |q_i|^2 sum_j |k_j|^2, from the equation; causal."""
    k, v = (np.repeat(x, q.shape[1] // k.shape[1], axis=1) for x in (k, v))
    allowed = np.tril(np.ones(mask.shape[-2:], bool), mask.shape[-1] - mask.shape[-2]) & mask
    z = scale * np.einsum("bhic,bhjc->bhij", q, k)
    weights = np.where(allowed, z**2 / (1 + z**2), 0)
    eps = rate * scale**2 * (q**2).sum(-1) * np.einsum("bhij,bhjc->bhi", np.where(allowed, 1, 0), k**2)
    total = weights.sum(-1) + eps
    return np.einsum("bhij,bhjc->bhic", weights, v) / np.where(total == 0, 1, total)[..., None]


@pytest.mark.parametrize("mask_of", ["keys", "queries and keys", "heads"])
def test_an_eps_that_depends_on_queries_and_keys_has_exact_gradients(mask_of, rng):
    q, k, v = arrays = draw(rng, 5, 6, heads=4, key_heads=2)
    shape = {"keys": (6,), "queries and keys": (2, 1, 5, 6), "heads": (4, 1, 6)}[mask_of]
    mask, rate = rng.random(shape) < 0.7, 0.3
    call = check_call(q, k, v, causal=True, mask=mask, scale=0.8, window=None, alibi=None)
    x, g = call.problem, call.layout
    eps = ratio_run.relative_eps(rate, x, g, call.heads)
    out, total = ratio_run.forward(PARAMS, x, g, call.heads, eps)

    def expected(q, k, v):
        return relative(q, k, v, np.broadcast_to(mask, (2, 4, 5, 6)), rate, 0.8)

    np.testing.assert_allclose(out.reshape(2, 4, 5, 3), expected(*arrays), rtol=0, atol=1e-13)
    dout = rng.standard_normal(out.size)
    dq, dk, dv, deps = ratio_run.backward(PARAMS, x, g, out, total, dout)
    assert slope_error(expected, arrays, (dq, dk, dv), dout.reshape(2, 4, 5, 3), rng) > 1e-3  # eps_i held fixed
    ratio_run.relative_eps_backward(rate, x, g, call.heads, deps, dq, dk)
    assert slope_error(expected, arrays, (dq, dk, dv), dout.reshape(2, 4, 5, 3), rng) < 1e-11


@pytest.mark.parametrize("depth", [1, 3])
@pytest.mark.parametrize("mask", ["all", "keys", "heads"])
def test_sums_in_linear_time_equal_sums_by_rows(depth, mask, rng):
    sizes = [(1, 1), (5, 5), (7, 3), (3, 7), (9, 20), (20, 9), (0, 3), (3, 0)]
    bands = [(0, 0), (2, 0), (100, 0), (3, 3), (100, 100), (0, 2), (4, 1)]
    for (queries, keys), (before, after), group in itertools.product(sizes, bands, (1, 2)):
        heads, room = 2 * group, keys + 2
        allowed, at, step = np.ones(1, np.uint8), np.zeros(heads, np.int64), 0
        if mask != "all":
            step = int(mask == "keys")
            allowed = (rng.random(heads * max(keys, 1)) < 0.6).astype(np.uint8)
            at = np.arange(heads) * (keys if step else 1)
        g = Layout(group, queries, keys, room, 1, depth, before, after, 0, step)
        reach = ratio_run.Problem(None, None, None, allowed, at, None, None)
        for by_blocks, owner, n, given, wanted in (
            (ratio_sums.sum_keys, ratio_sums.SUM_KEYS, heads * queries, 2 * room, heads * queries),
            (ratio_sums.sum_queries, ratio_sums.SUM_QUERIES, 2 * keys, heads * queries, 2 * room),
        ):
            x, got = rng.standard_normal(given * depth), np.full(wanted * depth, 9.0)
            expected = got.copy()
            by_blocks(reach, g, heads, depth, x, got)
            owner(n, allowed, at, tuple(g), depth, x, expected)
            if owner is ratio_sums.SUM_QUERIES:  # room beyond the keys in use belongs to nobody
                got, expected = (a.reshape(2, room, depth)[:, :keys] for a in (got, expected))
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("key_heads", [1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_a_bit(key_heads, dtype, rng, monkeypatch):
    q, k, v = (x[:1] for x in draw(rng, 150, 170, 8, 8, 3, key_heads, dtype))
    q, before = q[:, :key_heads], numba.get_num_threads()
    results = []
    for threads in (1, 2, 7):
        monkeypatch.setattr(run, "get_num_threads", lambda n=threads: n)
        results.append(everything(q, k, v, causal=True))
    assert numba.get_num_threads() == before
    for other in results[1:]:
        for name, x in results[0].items():
            np.testing.assert_array_equal(x, other[name], err_msg=name)


def test_memory_is_that_of_results_and_a_few_tiles(rng):
    tokens, width = 4096, 16
    x = rng.standard_normal((tokens, width)).astype(np.float32)
    out, pullback = attention.vjp("expressive", x, x, x, causal=True)  # compiled, buffers of BLAS in place
    pullback(out)
    del out, pullback
    tracemalloc.start()
    out, pullback = attention.vjp("expressive", x, x, x, causal=True)
    grads = pullback(out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    results = out.nbytes + sum(g.nbytes for g in grads.values()) + 3 * 4 * tokens  # r, D, deps
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
    assert not np.isfinite(got["out"][:, :, 69]).any()
    mask = np.arange(70) != 40
    without = everything(
        np.where(mask[:, None], q, 0), np.where(mask[:, None], k, 0), np.where(mask[:, None], v, 0), mask=mask
    )
    assert_close(everything(np.where(mask[:, None], q, 0), k, v, mask=mask), without)


def test_nan_in_the_upstream_gradient_reaches_only_what_its_query_saw(rng):
    q, k, v = draw(rng, 70, 70)
    out, pullback = attention.vjp("expressive", q, k, v, causal=True)
    dout = np.ones_like(out)
    dout[:, :, 10] = np.nan
    grads = pullback(dout)
    assert np.isfinite(grads["v"][:, :, 11:]).all()
    assert np.isfinite(np.delete(grads["q"], 10, axis=2)).all()
    assert np.isnan(grads["v"][:, :, :11]).all()


@pytest.mark.parametrize("eps", [0.0, 1e-6])
def test_orthogonal_or_no_keys_are_zero_with_gradients_of_zero(eps):
    q, k, v = np.array([[1.0, 0], [0, 1], [1, 1]]), np.array([[0, 1.0], [0, 2]]), np.array([[5.0], [7]])
    mask = np.array([[True], [True], [False]])
    out, weights = attention.expressive(q, k, v, mask=mask, eps=eps, return_weights=True)
    np.testing.assert_array_equal(out[[0, 2]], 0)
    np.testing.assert_array_equal(weights[[0, 2]], 0)
    assert 5 < out[1, 0] < 7
    grads = everything(q, k, v, mask=mask, eps=eps)
    np.testing.assert_array_equal(grads["q"][[0, 2]], 0)
    assert all(np.isfinite(g).all() for g in grads.values())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_scores_of_any_size_are_safe(dtype):
    big = np.array([[1e15], [1e19]] if dtype == np.float32 else [[1e120], [1e200]], dtype)
    x = np.concatenate([big, -big, [[1e-3]]]).astype(dtype)
    out, weights = attention.expressive(x[:4], x, x / x, scale=1.0, return_weights=True)
    np.testing.assert_array_equal(weights[:, :4], np.full((4, 4), weights[0, 0]))  # products overflow: weight 1
    np.testing.assert_allclose(out, 1, rtol=1e-5)
    grads = everything(x[:4], x, x / x, scale=1.0)
    assert all(np.isfinite(g).all() for g in grads.values())
    one = np.ones((1, 1), dtype)
    for z in (np.inf, -np.inf, np.finfo(dtype).max, -np.finfo(dtype).max, 1e18, -1e18):
        assert attention.expressive(np.array([[z]], dtype), one, one, scale=1.0, eps=0) == 1
    assert np.isnan(attention.expressive(np.array([[np.nan]], dtype), one, one))


def test_the_smallest_scores_keep_their_ratios():
    k = np.array([[1.0], [2.0]])
    _, weights = attention.expressive(np.array([[1e-100]]), k, k, scale=1.0, eps=0, return_weights=True)
    np.testing.assert_allclose(weights, [[0.2, 0.8]], rtol=1e-15)  # z -> 0: the square kernel


def test_rows_sum_to_what_eps_leaves(rng):
    q, k, v = draw(rng, 4, 5)
    _, weights = attention.expressive(q, k, v, eps=0.5, return_weights=True)
    z = np.einsum("bhic,bhjc->bhij", q, k) / 5**0.5
    total = (z**2 / (1 + z**2)).sum(-1)
    np.testing.assert_allclose(weights.sum(-1), total / (total + 0.5), rtol=1e-14)


def test_flat_for_large_scores_and_scale_free_for_small_ones(rng):
    """Softmax goes from flat to one-hot as scores grow; this goes the other way."""
    q, k = rng.standard_normal((2, 64, 16))

    def entropy(attend, scale):
        w = attend(q, k, k, scale=scale / 4, return_weights=True)[1]
        return -(w * np.log(np.where(w > 0, w, 1))).sum(-1).mean() / np.log(64)

    ours = [entropy(attention.expressive, s) for s in (0.1, 1, 10, 100)]
    softmax = [entropy(attention.dot_product, s) for s in (0.1, 1, 10, 100)]
    np.testing.assert_allclose(ours, [0.83, 0.92, 0.99, 1.0], atol=0.015)  # docs/theory/expressive.md, to two digits
    np.testing.assert_allclose(softmax, [1.0, 0.89, 0.12, 0.01], atol=0.02)
    assert abs(entropy(attention.expressive, 0.01) - ours[0]) < 0.01


def test_steep_at_zero_as_far_as_eps_allows(rng):
    """|dA/dz| grows as 1 / |z| without eps, and stays below 1 / sqrt(eps) with it."""
    z, one = rng.standard_normal((64, 1)), np.ones((1, 1))

    def steepness(size, eps):
        out, pullback = attention.vjp("expressive", one, size * z, np.sign(z), scale=1.0, eps=eps)
        return np.abs(pullback(np.ones_like(out))["k"]).max()

    assert steepness(1e-4, 0) > 50 * steepness(1e-2, 0)
    assert steepness(1e-4, 1e-2) < 10


@pytest.mark.parametrize("steps", [(1,) * 20, (7, 1, 5, 1, 6)])
@pytest.mark.parametrize("options", [{}, {"window": 4}, {"rope": 50.0, "window": 6, "eps": 0.2}], ids=str)
def test_streaming_equals_the_whole_sequence(steps, options, rng):
    q, k, v = draw(rng, 20, 20, 4, 3, heads=4, key_heads=2)
    expected = attention.expressive(q, k, v, causal=True, **options)
    cache = attention.Cache(options.get("window"))
    rest = {n: o for n, o in options.items() if n != "window"}
    start, outs = 0, []
    for n in steps:
        part = slice(start, start + n)
        outs.append(attention.expressive_step(q[:, :, part], k[:, :, part], v[:, :, part], cache, **rest))
        start += n
    np.testing.assert_allclose(np.concatenate(outs, axis=2), expected, rtol=0, atol=1e-13)
    assert len(cache) == min(20, options.get("window", 20))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"eps": -1.0}, "eps is -1.0"),
        ({"eps": np.nan}, "eps"),
        ({"eps": "big"}, "eps"),
        ({"rope": 10.0}, "q has width 5"),
    ],
)
def test_what_does_not_fit_is_refused(change, match, rng):
    with pytest.raises(ValueError, match=match):
        attention.expressive(*draw(rng, 5, 5), **change)


def test_uniform_is_the_mean_of_what_a_query_may_see(rng):
    v = rng.standard_normal((3, 200, 2))
    running = np.cumsum(v, axis=1) / np.arange(1, 201)[:, None]
    np.testing.assert_allclose(attention.uniform(v, causal=True), running, rtol=0, atol=1e-14)
    poisoned = v.copy()
    poisoned[:, 50] = np.nan
    out = attention.uniform(poisoned, causal=True, window=7)
    expected = attention.uniform(v, causal=True, window=7)
    seen = (np.arange(200) >= 50) & (np.arange(200) < 57)
    assert np.isnan(out[:, seen]).all()
    np.testing.assert_array_equal(out[:, ~seen], expected[:, ~seen])
    np.testing.assert_array_equal(attention.uniform(v, mask=np.zeros((200, 200), bool)), 0)
    both = attention.uniform(v, mask=np.tril(np.ones((200, 200), bool)))  # row by row
    np.testing.assert_allclose(both, running, rtol=0, atol=1e-14)


@pytest.mark.parametrize("v", [np.ones(3), np.ones((3, 0))])
def test_uniform_refuses_what_has_no_tokens_or_width(v):
    with pytest.raises(ValueError, match="tokens, width"):
        attention.uniform(v)


def test_labels_come_back(rng):
    xr = pytest.importorskip("xarray")
    v = rng.standard_normal((2, 4, 3))
    labelled = xr.DataArray(v, dims=("head", "time", "width"), coords={"time": [10, 20, 30, 40]})
    for name, inputs in (("expressive", 3), ("uniform", 1)):
        forward = getattr(attention, name)
        out, weights = forward(*[labelled] * inputs, return_weights=True)
        assert out.dims == ("head", "time", "width")
        assert weights.dims == ("head", "time", "key_time")
        out, pullback = attention.vjp(name, *[labelled] * inputs)
        assert pullback(out)["v"].dims == labelled.dims
        np.testing.assert_array_equal(out, forward(*[v] * inputs))


SCRIPT = """
import numpy as np
from primeattn import attention
from primeattn.attention._cores import ratio_tiles
x = np.arange(12.0).reshape(4, 3)
out, pullback = attention.vjp("expressive", x, x, x)
pullback(out)
stats = [f.stats for f in (ratio_tiles.forward, ratio_tiles.backward)]
print(sum(sum(s.cache_hits.values()) for s in stats), sum(sum(s.cache_misses.values()) for s in stats))
"""


def test_kernels_of_a_record_are_found_in_the_cache_by_another_process(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("PRIMEATTN_CACHE", None)
    for expected in ("0 2", "2 0"):
        done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == expected


@pytest.mark.cudasim
def test_cuda_twins_with_groups_and_an_eps_of_queries_and_keys(rng):
    q, k, v = draw(rng, 3, 4, 4, 2, heads=2, key_heads=1)
    mask, rate = rng.random((3, 4)) < 0.8, 0.3
    device = [pa.to_device(x) for x in (q, k, v)]
    call = check_call(*device, causal=True, mask=pa.to_device(mask), scale=0.8, window=None, alibi=None)
    x, g = call.problem, call.layout
    eps = ratio_run.relative_eps(rate, x, g, call.heads)
    out, total = ratio_run.forward(PARAMS, x, g, call.heads, eps)

    def expected(q, k, v):
        return relative(q, k, v, np.broadcast_to(mask, (2, 2, 3, 4)), rate, 0.8)

    shaped = pa.to_host(out).reshape(2, 2, 3, 2)
    np.testing.assert_allclose(shaped, expected(q, k, v), rtol=0, atol=1e-13)
    dq, dk, dv, deps = ratio_run.backward(PARAMS, x, g, out, total, pa.to_device(np.ones(out.size)))
    ratio_run.relative_eps_backward(rate, x, g, call.heads, deps, dq, dk)
    gradients = [pa.to_host(d) for d in (dq, dk, dv)]
    assert slope_error(expected, (q, k, v), gradients, np.ones_like(shaped), rng) < 1e-11
    step = attention.expressive_step(*(pa.to_device(x[:, :1, :3]) for x in (q, k, v)), attention.Cache())
    whole = attention.expressive(q[:, :1], k[:, :, :3], v[:, :, :3], causal=True)
    np.testing.assert_allclose(pa.to_host(step), whole, rtol=0, atol=1e-13)
