"""Squared attention: sums against pairs, blocks against rows, sizes of numbers, threads, streaming, refusals."""

import tracemalloc

import numba
import numpy as np
import pytest

import primeattn as pa
from primeattn.attention._cores import scan_room, scan_run
from tests.naive.squared import reference

attention = pa.attention


def draw(rng, queries, keys, width=5, depth=3, heads=2, key_heads=2, dtype=float):
    shapes = (2, heads, queries, width), (2, key_heads, keys, width), (2, key_heads, keys, depth)
    return tuple(rng.standard_normal(s).astype(dtype) for s in shapes)


def everything(q, k, v, **options):
    """Output and gradients for a fixed upstream gradient."""
    out, pullback = attention.vjp("squared", q, k, v, **options)
    return {"out": out, **pullback(np.cos(np.arange(out.size)).reshape(out.shape).astype(out.dtype))}


def assert_close(got, expected, dtype=float, factor=2e3):
    # sums of up to about 100 numbers of size 1 to 10, in another order
    for name, x in expected.items():
        np.testing.assert_allclose(got[name], x, rtol=0, atol=factor * np.finfo(dtype).eps, err_msg=name)


@pytest.fixture
def small(monkeypatch):
    """Blocks of 4 queries, parts of 2 columns: every border within a few tokens."""
    monkeypatch.setattr(scan_run, "BLOCK", 4)
    monkeypatch.setattr(scan_run, "_COLUMNS", 2)


@pytest.fixture
def by_rows(monkeypatch):
    """`everything` of the linear form by rows, its specification."""

    def specified(*arguments, **options):
        with monkeypatch.context() as patch:
            patch.setattr(scan_run, "_forward_blocks", lambda *arguments: False)
            return everything(*arguments, form="linear", **options)

    return specified


OPTIONS = [{}, {"causal": True}, {"mask": "keys"}, {"causal": True, "mask": "keys"}]


@pytest.mark.parametrize("sizes", [(1, 1), (5, 9), (9, 5), (13, 13)])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_sums_equal_the_oracle_and_the_complex_step(sizes, options, rng, small, by_rows):
    q, k, v = draw(rng, *sizes, heads=4)
    mask = {"mask": rng.random((2, 1, 1, sizes[1])) < 0.7} if "mask" in options else {}
    options = {**options, **mask, "eps": 0.01}
    got = everything(q, k, v, form="linear", **options)
    out, weights = attention.squared(q, k, v, form="linear", return_weights=True, **options)
    expected, expected_weights = reference(q, k, v, return_weights=True, **options)
    # a dozen products of numbers of size 1 in float64
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(weights, expected_weights, rtol=0, atol=1e-13)
    dout = np.cos(np.arange(out.size)).reshape(out.shape)
    rows, seen = by_rows(q, k, v, **options), set()
    for name, x in (("q", q), ("k", k), ("v", v)):
        direction = rng.standard_normal(x.shape)
        step = {"q": q, "k": k, "v": v} | {name: x + 1e-30j * direction}
        slope = (reference(**step, **options) * dout).sum().imag / 1e-30
        for form in (got, rows):
            error = abs(slope - (form[name] * direction).sum()) / (1 + abs(slope))
            assert error < 1e-11
        if sizes[0] > 1:  # one part in a million off is rejected
            wrong = abs(slope - (got[name] * (1 + 1e-6) * direction).sum()) / (1 + abs(slope))
            seen.add(bool(wrong > 1e-9))
    assert seen <= {True}
    assert_close(got, rows)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("causal", [False, True])
def test_sums_equal_pairs_over_many_blocks(dtype, causal, rng):
    arrays = draw(rng, 300, 330, 8, 40, 2, 1, dtype=dtype)  # 40 columns: two parts
    assert_close(
        everything(*arrays, form="linear", causal=causal), everything(*arrays, form="quadratic", causal=causal), dtype
    )


@pytest.mark.parametrize("width", [1, 2, 33])
def test_any_width(width, rng, small):
    q, k, v = draw(rng, 9, 9, width, 2)
    for causal in (False, True):
        sums = everything(q, k, v, form="linear", causal=causal)
        assert_close(sums, everything(q, k, v, form="quadratic", causal=causal), factor=1e4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_do_not_change_a_bit(dtype, rng, monkeypatch):
    q, k, v = (x[:1] for x in draw(rng, 300, 330, 8, 40, 2, 1, dtype))
    results, before = [], numba.get_num_threads()
    for threads in (1, 2):
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        monkeypatch.setattr("primeattn._runtime.owners.get_num_threads", lambda n=threads: n)
        monkeypatch.setattr(scan_run, "get_num_threads", lambda n=threads: n)
        results.append(everything(q, k, v, causal=True, form="linear"))
    numba.set_num_threads(before)
    for name, x in results[0].items():
        np.testing.assert_array_equal(x, results[1][name], err_msg=name)


def test_float32_denominators_stay_positive():
    """Queries orthogonal to all keys but for rounding: what sums of signed float32 numbers would make negative."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        k = rng.standard_normal((64, 8)).astype(np.float32)
        k[:, -1] = 0
        q = (1e-4 * rng.standard_normal((64, 8))).astype(np.float32)
        q[:, -1] = 1
        v = rng.random((64, 2), np.float32)
        out, weights = attention.squared(q, k, v, form="linear", causal=True, return_weights=True)
        assert (weights >= 0).all()
        # rounding of features is 1e-7 |q|^2 sum |k|^2, a tenth of what eps adds to r
        assert out.min() > -0.1
        assert out.max() < 1.1


def test_float32_sums_over_many_tokens_are_as_good_as_pairs():
    rng = np.random.default_rng(8)
    q, k, v = (rng.standard_normal((20_000, 4)).astype(np.float32) for _ in range(3))
    v += 1  # so that sums grow with the tokens
    exact = attention.squared(*(x.astype(float) for x in (q, k, v)), form="linear", causal=True)
    out = attention.squared(q, k, v, form="linear", causal=True)
    # inputs are exact; rounding of features and of the copies of the sums: a few 1e-7 of |q|^2 |S| / r ~ width
    assert abs(out - exact).max() < 5e-6


@pytest.mark.parametrize("form", ["linear", "quadratic"])
@pytest.mark.parametrize("size", [1e-200, 1e200])
def test_squares_of_huge_and_tiny_numbers_do_not_leave_the_range(form, size, rng, small):
    q, k, v = draw(rng, 9, 9)
    expected = everything(q, k, v, causal=True, form=form)
    got = everything(q * size, k, v, causal=True, form=form)
    np.testing.assert_allclose(got["out"], expected["out"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got["q"] * size, expected["q"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(got["k"], expected["k"], rtol=0, atol=1e-11)
    got = everything(q * size, k * size, v, causal=True, form=form)
    np.testing.assert_allclose(got["out"], expected["out"], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got["k"] * size, expected["k"], rtol=0, atol=1e-11)
    np.testing.assert_allclose(got["v"], expected["v"], rtol=0, atol=1e-13)
    _, weights = attention.squared(q * size, k, v, causal=True, form=form, return_weights=True)
    np.testing.assert_allclose(weights, reference(q, k, v, causal=True, return_weights=True)[1], rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", ["linear", "quadratic"])
@pytest.mark.parametrize("poison", [np.nan, np.inf, 1e200])
def test_a_later_key_changes_nothing_before_it(form, poison, rng, small):
    q, k, v = draw(rng, 11, 11)
    clean = everything(q, k, v, causal=True, form=form)
    k = k.copy()
    k[:, :, 6] = poison
    got = everything(q, k, v, causal=True, form=form)
    np.testing.assert_allclose(got["out"][:, :, :6], clean["out"][:, :, :6], rtol=0, atol=1e-13)
    if poison == 1e200:
        np.testing.assert_allclose(got["out"][:, :, 6:], reference(
            q, np.where(abs(k) > 1e99, 1e20, k), v, causal=True)[:, :, 6:], rtol=0, atol=1e-12)  # fmt: skip
        assert all(np.isfinite(g).all() for g in got.values())
    else:
        assert np.isnan(got["out"][:, :, 10]).all()


def test_perturbing_the_future_changes_no_bit(rng):
    q, k, v = draw(rng, 150, 150, 8, 8)
    for form in ("linear", "quadratic"):
        before = attention.squared(q, k, v, causal=True, form=form)
        later = np.arange(150) >= 128
        changed = (np.where(later[:, None], 2 * x + 1, x) for x in (q, k, v))
        after = attention.squared(*changed, causal=True, form=form)
        np.testing.assert_array_equal(before[:, :, :128], after[:, :, :128])


@pytest.mark.parametrize("form", ["linear", "quadratic"])
def test_rows_without_weight_are_zero_and_so_are_their_gradients(form, rng, small):
    q, k, v = draw(rng, 7, 7)
    q[:, :, 2] = 0
    k[:, :, 0] = 0  # a causal first query meets only a key of 0
    for mask in (None, np.zeros((1, 7), bool), np.arange(7)[None] > 4):
        got = everything(q, k, v, causal=True, form=form, mask=mask)
        assert all(np.isfinite(g).all() for g in got.values())
        zero = [0, 2] if mask is None else [*range(7)] if not mask.any() else [0, 1, 2, 3, 4]
        assert (got["out"][:, :, zero] == 0).all()
        assert (got["q"][:, :, zero] == 0).all()
        np.testing.assert_allclose(got["out"], reference(q, k, v, causal=True, mask=mask), rtol=0, atol=1e-13)


def test_hidden_keys_may_hold_anything(rng, small):
    q, k, v = draw(rng, 9, 9)
    mask = np.arange(9)[None] != 4
    for form in ("linear", "quadratic"):
        clean = everything(q, np.where(mask.T, k, 0), np.where(mask.T, v, 0), mask=mask, form=form, causal=True)
        got = everything(q, np.where(mask.T, k, np.nan), np.where(mask.T, v, np.inf), mask=mask, form=form, causal=True)
        assert_close(got, clean)


@pytest.mark.parametrize(("queries", "keys"), [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("form", ["linear", "quadratic"])
def test_nothing_in_nothing_out(queries, keys, form, rng):
    q, k, v = draw(rng, queries, keys)
    got = everything(q, k, v, form=form)
    assert got["out"].shape == (2, 2, queries, 3)
    assert all((got[n] == 0).all() and got[n].shape == x.shape for n, x in (("q", q), ("k", k), ("v", v)))
    assert (got["out"] == 0).all()


def test_a_scale_of_zero_weighs_nothing(rng):
    q, k, v = draw(rng, 5, 5)
    assert all((g == 0).all() for g in everything(q, k, v, scale=0.0, form="linear").values())


def test_the_gram_matrix_is_positive_of_rank_21(rng):
    x = rng.standard_normal((60, 6))
    _, weights = attention.squared(x, x, x, eps=0.0, return_weights=True)
    values = np.linalg.eigvals(weights).real  # similar to a symmetric matrix
    assert values.min() > -1e-13
    assert (abs(values) > 1e-10).sum() == 6 * 7 // 2


def test_no_slope_bounds_the_change_at_zero():
    """Weights have degree 0 in q: near q = 0 two queries as close as one likes differ by as much as any two."""
    k = v = np.eye(2)
    for size in (1.0, 1e-3, 1e-6):
        q = size * np.array([[1.0, 0.0], [0.0, 1.0]])
        out = attention.squared(q, k, v, eps=0.0)
        assert abs(out[0] - out[1]).max() == 1.0


@pytest.mark.parametrize("steps", [(1,) * 20, (7, 1, 5, 1, 6), (20,)])
@pytest.mark.parametrize("options", [{}, {"rope": 50.0}, {"eps": 0.1}], ids=str)
def test_streaming_equals_the_whole_sequence(steps, options, rng, small):
    q, k, v = draw(rng, 20, 20, 4, 3, heads=4)
    k[:, :, 12] *= 1e30
    expected = attention.squared(q, k, v, causal=True, form="linear", **options)
    state, start, outs = attention.SquaredState(), 0, []
    for n in steps:
        part = slice(start, start + n)
        outs.append(attention.squared_step(q[:, :, part], k[:, :, part], v[:, :, part], state, **options))
        start += n
    np.testing.assert_allclose(np.concatenate(outs, axis=2), expected, rtol=0, atol=1e-12)
    assert state.position == 20
    assert state.nbytes == 8 * 4 * (10 * 3 + 16 + 2)


def test_a_step_with_nan_leaves_the_tokens_before_alone(rng):
    q, k, v = draw(rng, 6, 6, 4, 3)
    state = attention.SquaredState()
    k = k.copy()
    k[:, :, 3] = np.nan
    out = attention.squared_step(q, k, v, state)
    np.testing.assert_allclose(out[:, :, :3], attention.squared(q, k, v, causal=True)[:, :, :3], rtol=0, atol=1e-13)
    assert np.isnan(out[:, :, 3:]).all()


def test_a_refused_step_leaves_the_state_as_it_was(rng):
    state, x = attention.SquaredState(), rng.standard_normal((2, 1, 4))
    attention.squared_step(x, x, x, state)
    kept = state._sums.copy()
    for bad, match in ((x[:1], "leading axes"), (x.astype(np.float32), "dtype"), (x[..., :2], "width changed")):
        with pytest.raises(ValueError, match=match):
            attention.squared_step(bad, bad, bad, state)
    with pytest.raises(ValueError, match="a query for every key"):
        attention.squared_step(x, np.repeat(x, 2, 1), np.repeat(x, 2, 1), state)
    assert "1 tokens" in repr(state)
    np.testing.assert_array_equal(state._sums, kept)


@pytest.mark.parametrize("tokens", [1, 3])
def test_an_interrupted_step_leaves_the_state_as_it_was(tokens, rng, monkeypatch):
    """Threads take one head each; the interrupt comes when some have been and some have not."""
    q, k, v = draw(rng, 8, 8, 4, 3, heads=4)
    state = attention.SquaredState()
    attention.squared_step(q[:, :, :4], k[:, :, :4], v[:, :, :4], state)
    kept = state._sums.copy()

    def interrupted(work, n):
        work(0, n // 2)
        raise KeyboardInterrupt

    step = tuple(x[:, :, 4 : 4 + tokens] for x in (q, k, v))
    with monkeypatch.context() as patch:
        patch.setattr(scan_run, "shared", interrupted)
        with pytest.raises(KeyboardInterrupt):
            attention.squared_step(*step, state)
    np.testing.assert_array_equal(state._sums, kept)
    assert state.position == 4
    expected = attention.squared(q, k, v, causal=True, form="linear")[:, :, 4 : 4 + tokens]
    np.testing.assert_allclose(attention.squared_step(*step, state), expected, rtol=0, atol=1e-13)


def test_auto_takes_sums_for_long_sequences_only(rng, monkeypatch):
    taken = []
    sums = attention._squared.forms.Sums
    monkeypatch.setattr(attention._squared.forms, "Sums", lambda *a: taken.append("sums") or sums(*a))
    for tokens, causal, options in (
        (380, True, {}), (390, True, {}), (225, False, {}), (240, False, {}), (600, True, {"window": 5}),
        (600, False, {"mask": np.ones((600, 1), bool)}), (600, True, {"mask": np.ones((1, 600), bool)}),
    ):  # fmt: skip
        taken.append(tokens)
        x = rng.standard_normal((tokens, 16)).astype(np.float32)
        attention.squared(x, x, x, causal=causal, **options)
    assert taken == [380, 390, "sums", 225, 240, "sums", 600, 600, 600, "sums"]


def test_memory_of_the_linear_form_is_that_of_its_results(rng):
    x = rng.standard_normal((8192, 16)).astype(np.float32)
    attention.vjp("squared", x, x, x, causal=True)[1](x)
    tracemalloc.start()
    out, pullback = attention.vjp("squared", x, x, x, causal=True)
    grads = pullback(out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    results = out.nbytes + sum(g.nbytes for g in grads.values()) + 3 * 4 * 8192
    plan = scan_room.plan_of(16, 16, 2, 64, np.float32)
    assert peak < results + 2 * (4 * plan.size + 8 * plan.scalars) + 100_000


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"form": "fast"}, ValueError, "'auto', 'quadratic' or 'linear'"),
        ({"form": "linear", "window": 2}, ValueError, "form='auto'"),
        ({"form": "linear", "mask": np.eye(5, dtype=bool)}, ValueError, "1, Tk"),
        ({"eps": -1.0}, ValueError, "eps"),
        ({"eps": np.nan}, ValueError, "eps"),
        ({"rope": 10.0}, ValueError, "even width"),
        ({"mask": np.ones((5, 5))}, TypeError, "boolean"),
    ],
)
def test_what_does_not_fit_is_refused(options, error, match, rng):
    with pytest.raises(error, match=match):
        attention.squared(*draw(rng, 5, 5), **options)


def test_labels_come_back(rng):
    xr = pytest.importorskip("xarray")
    q, k, v = (xr.DataArray(x, dims=("batch", "head", "time", "width")) for x in draw(rng, 4, 4, 3, 3))
    out, weights = attention.squared(q, k, v, form="linear", return_weights=True)
    assert out.dims == q.dims
    assert weights.dims == ("batch", "head", "time", "key_time")


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("causal", [False, True])
def test_cuda_twins_of_the_linear_form(dtype, causal, rng):
    q, k, v = (x[:1] for x in draw(rng, 3, 4, 2, 2, heads=2, key_heads=1, dtype=dtype))
    k[:, :, 2] *= 8
    mask = np.array([True, False, True, True])[None]
    host, atol = (q, k, v), 1e-13 if dtype == np.float64 else 3e-6  # as on the CPU
    options = {"causal": causal, "form": "linear", "eps": 0.01}
    out, pullback = attention.vjp("squared", *map(pa.to_device, host), mask=pa.to_device(mask), **options)
    _, expected_pullback = attention.vjp("squared", *(x.astype(float) for x in host), mask=mask, **options)
    np.testing.assert_allclose(pa.to_host(out), reference(
        *(x.astype(float) for x in host), causal=causal, mask=mask, eps=0.01), rtol=0, atol=atol)  # fmt: skip
    dout = np.cos(np.arange(out.size)).reshape(out.shape).astype(dtype)
    wide = expected_pullback(dout.astype(float))
    for name, gradient in pullback(pa.to_device(dout)).items():
        np.testing.assert_allclose(pa.to_host(gradient), wide[name], rtol=0, atol=10 * atol, err_msg=name)
    _, weights = attention.squared(*map(pa.to_device, host), mask=pa.to_device(mask), return_weights=True, **options)
    assert pa.to_host(weights).shape == (1, 2, 3, 4)


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_state_on_cuda_streams(dtype, rng):
    q, k, v = draw(rng, 5, 5, 3, 2, heads=2, key_heads=1)
    k[:, :, 3] *= 1e10  # another unit
    expected = reference(q, k, v, causal=True)
    state, outs = attention.SquaredState(), []
    for part in (slice(0, 1), slice(1, 4), slice(4, 5)):
        step = (np.ascontiguousarray(x[:, :, part], dtype) for x in (q, k, v))
        outs.append(pa.to_host(attention.squared_step(*map(pa.to_device, step), state)))
    atol = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(np.concatenate(outs, axis=2), expected, rtol=0, atol=atol)
    assert state.position == 5
    with pytest.raises(ValueError, match="device changed"):
        attention.squared_step(*(x[:, :, :1].astype(dtype) for x in (q, k, v)), state)
    assert state.position == 5


def test_a_step_with_rope_refuses_a_single_vector():
    with pytest.raises(ValueError, match=r"pass q\[None\]"):
        attention.squared_step(np.ones(4), np.ones(4), np.ones(4), attention.SquaredState(), rope=10.0)
