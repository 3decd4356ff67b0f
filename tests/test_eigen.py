"""Eigen attention: bases, ranks, budget, gradients, the compressed cache, bounds, refusals."""

import numpy as np
import pytest

import primeattn as pa
from tests.naive.eigen import reference

attention = pa.attention


def draw(rng, queries=5, keys=5, width=4, depth=6, heads=2, key_heads=2):
    shapes = (2, heads, queries, width), (2, key_heads, keys, width), (2, key_heads, keys, depth)
    return tuple(rng.standard_normal(s) for s in shapes)


def bases(rng, key_heads=2, width=4, depth=6, rank=2, query=True):
    """Of no particular kind: derivatives must not need orthonormal columns."""
    found = {"basis_key": rng.standard_normal((key_heads, width, rank)), "basis_value": rng.standard_normal((depth, 3))}
    return found | ({"basis_query": rng.standard_normal((key_heads, width, rank))} if query else {})


def orthonormal(rng, *shape):
    return np.linalg.qr(rng.standard_normal(shape))[0]


def with_spectrum(rng, spectrum, tokens=200):
    """A (tokens, D) table with exactly these singular values."""
    width = len(spectrum)
    return orthonormal(rng, tokens, width) * spectrum @ orthonormal(rng, width, width).T


@pytest.mark.parametrize("query", [False, True])
@pytest.mark.parametrize("key_heads", [2, 1])
@pytest.mark.parametrize("options", [{}, {"causal": True, "rope": 30.0}, {"window": 3, "scale": 0.7}], ids=str)
def test_output_and_gradients_equal_the_oracle(query, key_heads, options, rng):
    q, k, v = draw(rng, 4, 5, key_heads=key_heads)
    given = {"q": q, "k": k, "v": v, **bases(rng, key_heads, query=query), "mask": rng.random((4, 5)) < 0.8, **options}
    out, weights = attention.eigen(**given, return_weights=True)
    expected, expected_weights = reference(**given, return_weights=True)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-13)  # bases of no unit length: numbers up to 20
    np.testing.assert_allclose(weights, expected_weights, rtol=0, atol=1e-13)
    np.testing.assert_allclose(attention.MECHANISMS["eigen"].reference(**given), expected, rtol=0, atol=2e-13)
    arrays = [given.pop(n) for n in "qkv"]
    _, pullback = attention.vjp("eigen", *arrays, **given)
    given |= dict(zip("qkv", arrays, strict=True))
    dout = rng.standard_normal(out.shape)
    grads = pullback(dout)
    names = {"basis_key", "basis_value"} | ({"basis_query"} if query else set())
    assert set(grads) == {"q", "k", "v"} | names | ({"scale"} & set(options))
    for name, gradient in grads.items():
        step = rng.standard_normal(np.shape(given[name]))
        got = (gradient * step).sum()
        moved = {**given, "q": given["q"] + 0j, name: given[name] + 1e-30j * step}
        exact = (reference(**moved) * dout).sum().imag / 1e-30
        assert abs(got - exact) < 1e-11 * (1 + abs(exact)), name
        assert abs(got * (1 + 1e-6) - exact) > 1e-9 * abs(exact)  # the check is alive


def test_square_orthogonal_bases_change_nothing(rng):
    q, k, v = draw(rng)
    full = {"basis_key": orthonormal(rng, 2, 4, 4), "basis_value": orthonormal(rng, 2, 6, 6)}
    for options in ({"causal": True}, {"causal": True, "rope": 30.0}):
        expected = attention.dot_product(q, k, v, **options)
        np.testing.assert_allclose(attention.eigen(q, k, v, **full, **options), expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("rope", [None, 30.0])
def test_the_last_token_has_no_influence_on_the_bits_before_it(rope, rng):
    q, k, v = draw(rng, 70, 70)
    basis = bases(rng)
    before = attention.eigen(q, k, v, **basis, causal=True, rope=rope)
    for x in (q, k, v):
        x[:, :, 69] *= -3
    after = attention.eigen(q, k, v, **basis, causal=True, rope=rope)
    np.testing.assert_array_equal(before[:, :, :69], after[:, :, :69])
    assert abs(before - after)[:, :, 69].min() > 0


def test_the_gradient_of_a_basis_splits_into_turns_and_the_rest(rng):
    q, k, v = draw(rng)
    basis = {"basis_key": orthonormal(rng, 2, 4, 2), "basis_value": orthonormal(rng, 2, 6, 3)}
    out, pullback = attention.vjp("eigen", q, k, v, **basis)
    grads = pullback(rng.standard_normal(out.shape))
    for name in basis:
        b, d = basis[name], grads[name]
        turning = attention.grassmann_gradient(b, d)
        np.testing.assert_allclose(np.swapaxes(b, -1, -2) @ turning, 0, atol=1e-13)
        inside = np.swapaxes(b, -1, -2) @ d  # B'dB is symmetric: turns within the subspace have no effect
        np.testing.assert_allclose(inside, np.swapaxes(inside, -1, -2), rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="equal shapes"):
        attention.grassmann_gradient(np.eye(2), np.ones((2, 1)))


def test_the_three_factorisations_are_what_they_claim(rng):
    falling, width = 2.0 ** -np.arange(8), 8
    q, k, v = (with_spectrum(rng, s) for s in (falling[::-1], falling, falling))
    exact = q @ k.T
    tail = np.linalg.svd(exact, compute_uv=False)
    for rank in (1, 3, 6):
        stacked, score = (
            attention.eigen_bases(q, k, v, rank=rank, factorization=f) for f in ("stacked", "score")
        )  # fmt: skip
        np.testing.assert_allclose(stacked.key.T @ stacked.key, np.eye(rank), atol=1e-13)
        assert stacked.query is None
        lost = np.linalg.norm(v - v @ stacked.value @ stacked.value.T)
        assert abs(lost - np.linalg.norm(falling[rank:])) < 1e-13  # Eckart and Young
        both = np.concatenate([k, q])
        lost = np.linalg.norm(both - both @ stacked.key @ stacked.key.T)
        assert abs(lost - np.linalg.norm(stacked.spectrum_key[rank:])) < 1e-13
        best = np.linalg.norm(exact - (q @ score.query) @ (k @ score.key).T)
        assert abs(best - np.linalg.norm(tail[rank:width])) < 1e-12
        assert best < 0.9 * np.linalg.norm(exact - (q @ stacked.key) @ (k @ stacked.key).T)
        for x, b in ((q, score.query), (k, score.key)):  # balanced
            np.testing.assert_allclose((x @ b).T @ (x @ b), np.diag(tail[:rank]), atol=1e-12)


@pytest.mark.parametrize(("exponent", "singular", "energy"), [(1.0, 39, 6), (0.5, 52, 40), (0.25, 55, 53)])
def test_ranks_by_singular_values_and_by_energy(exponent, singular, energy, rng):
    """Share 0.9 of i^-a, i = 1 ... 64; counted by hand. The authors' code counts those below the share of the sum."""
    x = with_spectrum(rng, np.arange(1, 65.0) ** -exponent)
    for rule, wanted in (("singular", singular), ("energy", energy)):
        found = attention.eigen_bases(x, x, x, **{rule: 0.9})
        assert (int(found.ranks_key), int(found.ranks_value)) == (wanted, wanted)
        assert found.key.shape == found.value.shape == (64, wanted)
        assert found.ratio == wanted / 64


def test_heads_samples_groups_and_a_rank_of_zero(rng):
    q, k, v = draw(rng, 9, 7, heads=4)
    k[:, 1, :, 1:] = 0  # the keys of head 1 lie on a line
    found = attention.eigen_bases(k, k, v, singular=0.5)
    assert found.ranks_key.tolist()[1] == 1  # 0 below the share: raised
    assert found.key.shape == (2, 4, found.ranks_key.max())
    grouped = attention.eigen_bases(q, k, v, rank=(2, 3), factorization="score")
    assert (grouped.key.shape, grouped.query.shape, grouped.value.shape) == ((2, 4, 2), (2, 4, 2), (2, 6, 3))
    each = attention.eigen_bases(
        np.concatenate(q[:, 2:].reshape(4, 9, 4)), np.concatenate(k[:, 1]), np.concatenate(v[:, 1]), rank=(2, 3),
        factorization="score",
    )  # fmt: skip
    np.testing.assert_allclose(each.spectrum_key, grouped.spectrum_key[1], atol=1e-12)
    np.testing.assert_allclose(
        each.key @ each.query.T, grouped.key[1] @ grouped.query[1].T, rtol=0, atol=1e-11
    )  # fmt: skip
    few = attention.eigen_bases(np.eye(4)[:1], np.eye(4)[:1], np.eye(4)[:1], rank=3, factorization="score")
    assert np.isfinite(few.key).all()
    assert attention.eigen_bases(*(x.astype(np.float32) for x in (q, k, v)), rank=2).key.dtype == np.float32


@pytest.mark.parametrize("factorization", ["stacked", "score"])
def test_the_error_budget_is_kept_and_used(factorization, rng):
    q, k, v = (np.stack([with_spectrum(rng, 3 * np.arange(1, 9.0) ** -1.5, 60) for _ in range(2)]) for _ in range(3))
    full, widths = attention.dot_product(q, k, v, causal=True), []
    for budget in (0.0, 0.02, 0.1, 0.5, 2.0):
        found = attention.eigen_bases(q, k, v, budget=budget, factorization=factorization, causal=True)
        out = attention.eigen(q, k, v, causal=True, **found.options)
        error = np.linalg.norm(out - full) / np.linalg.norm(full)
        assert abs(error - found.error) < 1e-13
        assert error <= budget + 1e-14
        widths.append(found.ratio)
    assert widths[0] == 1
    assert widths == sorted(widths, reverse=True)
    assert widths[1] > widths[3]
    assert widths[-1] == 1 / 8


@pytest.mark.parametrize("exponent", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("rank", [1, 4, 6])
@pytest.mark.parametrize("factorization", ["stacked", "score"])
@pytest.mark.parametrize("options", [{"causal": True}, {"window": 7, "mask": "some", "scale": 2.0, "rope": 50.0}])
def test_the_error_bound_holds(exponent, rank, factorization, options, rng):
    q, k, v = (
        with_spectrum(rng, 8 * np.arange(1, 9.0) ** -exponent, 80).reshape(2, 40, 8) for _ in range(3)
    )  # fmt: skip
    if "mask" in options:
        options = {**options, "mask": rng.random((40, 40)) < 0.7}
        options["mask"][3] = False
    found = attention.eigen_bases(q, k, v, rank=rank, factorization=factorization).options
    bound = attention.eigen_error_bound(q, k, v, **found, **options)
    out, weights = attention.eigen(q, k, v, **found, **options, return_weights=True)
    full, full_weights = attention.dot_product(q, k, v, **options, return_weights=True)
    change, moved = abs(weights - full_weights).sum(axis=-1), np.linalg.norm(out - full, axis=-1)
    assert (change <= bound.weights + 1e-12).all()
    assert (moved <= bound.output + 1e-12).all()
    assert np.linalg.norm(out - full) <= bound.total + 1e-12
    assert change.max() > 1e-3  # there was something to bound
    assert bound.total < 30 * np.linalg.norm(out - full)  # and the bound says something
    if "mask" in options:
        assert bound.output[:, 3].tolist() == [0, 0]


@pytest.mark.parametrize("steps", [(1,) * 12, (5, 1, 4, 2)])
@pytest.mark.parametrize(
    "options", [{}, {"window": 4}, {"rope": 50.0}, {"rope": 50.0, "window": 4, "scale": 2.0}], ids=str
)
@pytest.mark.parametrize("query", [False, True])
def test_streaming_equals_the_whole_sequence(steps, options, query, rng):
    q, k, v = draw(rng, 12, 12, heads=4)
    basis = bases(rng, query=query)
    expected = attention.eigen(q, k, v, causal=True, **basis, **options)
    rest = {n: o for n, o in options.items() if n != "window"}
    cache, outs, start = attention.EigenCache(options.get("window")), [], 0
    for n in steps:
        part = np.s_[:, :, start : start + n]
        outs.append(attention.eigen_step(q[part], k[part], v[part], cache, **basis, **rest))
        start += n
    np.testing.assert_allclose(np.concatenate(outs, axis=2), expected, rtol=0, atol=1e-12)
    kept = options.get("window", 12)
    assert (cache.position, len(cache)) == (12, kept)
    compressed = k @ basis["basis_key"]  # without positions
    np.testing.assert_allclose(cache.keys, compressed[:, :, 12 - kept :], rtol=0, atol=1e-13)


def test_the_cache_reports_what_it_saves(rng):
    q, k, v = draw(rng, 40, 40)
    full, narrow, basis = attention.Cache(), attention.EigenCache(), bases(rng)
    assert narrow.ratio == 1
    for i in range(0, 40, 8):
        part = np.s_[:, :, i : i + 8]
        attention.dot_product_step(q[part], k[part], v[part], full)
        attention.eigen_step(q[part], k[part], v[part], narrow, **basis)
    assert narrow.full_nbytes == full.nbytes
    assert narrow.ratio == narrow.nbytes / full.nbytes == (2 + 3) / (4 + 6)
    assert "50% of the full cache" in repr(narrow)


@pytest.mark.parametrize("rope", [None, 10.0])
def test_a_refused_step_leaves_the_cache_as_it_was(rope, rng):
    q, k, v = draw(rng, 1, 1)
    cache, basis = attention.EigenCache(), bases(rng)
    attention.eigen_step(q, k, v, cache, **basis, rope=rope)
    kept = cache.keys.copy()
    for change, match in (({"scale": np.nan}, "scale"), ({"q": np.repeat(q, 2, axis=2)}, "a query for every key")):
        with pytest.raises(ValueError, match=match):
            attention.eigen_step(**{"q": q, "k": k, "v": v, "cache": cache, **basis, "rope": rope, **change})
    assert (cache.position, len(cache)) == (1, 1)
    np.testing.assert_array_equal(cache.keys, kept)


def test_what_a_mask_hides_does_not_reach_the_gradients(rng):
    q, k, v = draw(rng)
    q[:, :, 1], k[:, :, 2], v[:, :, 2] = np.nan, np.nan, np.inf
    mask = (np.arange(5) != 2) & (np.arange(5) != 1)[:, None]
    for rope in (None, 30.0):
        out, pullback = attention.vjp("eigen", q, k, v, **bases(rng), mask=mask, rope=rope)
        grads = pullback(np.ones_like(out))
        assert all(np.isfinite(g).all() for g in (out, *grads.values()))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"basis_key": np.ones((3, 2))}, ValueError, "width 4"),
        ({"basis_key": np.ones((3, 4, 2))}, ValueError, "one basis a key head"),
        ({"basis_key": np.ones((4, 0))}, ValueError, "rank 1 or more"),
        ({"basis_value": np.ones((4, 2))}, ValueError, "width 6"),
        ({"basis_query": np.ones((4, 3))}, ValueError, "rank 3"),
        ({"basis_value": np.ones(6)}, ValueError, "basis_value has shape"),
        ({"basis_key": np.ones((4, 2), complex)}, TypeError, "basis_key.real"),
        ({**dict.fromkeys("qk", np.ones((2, 2, 5, 3))), "basis_key": np.ones((3, 2)), "rope": 9.0}, ValueError, "even"),
        ({"mask": np.ones((5, 5))}, TypeError, "boolean"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(change, error, match, rng):
    q, k, v = draw(rng)
    with pytest.raises(error, match=match):
        attention.eigen(**{"q": q, "k": k, "v": v, **bases(rng, query=False), **change})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({}, "nothing was given"),
        ({"rank": 2, "energy": 0.9}, "rank, energy was given"),
        ({"rank": 5}, "at most 4 and 6"),
        ({"rank": (1, 2, 3)}, "at most 4 and 6"),
        ({"energy": 1.5}, r"\(0, 1\]"),
        ({"singular": 0.0}, r"\(0, 1\]"),
        ({"budget": -1.0}, ">= 0"),
        ({"rank": 2, "factorization": "value"}, "'stacked' or 'score'"),
        ({"rank": 2, "k": np.full((2, 2, 5, 4), np.nan)}, "not finite"),
        ({"rank": 2, "q": np.ones((2, 2, 0, 4))}, "empty"),
    ],
)
def test_calibration_that_makes_no_sense_is_refused(change, match, rng):
    q, k, v = draw(rng)
    with pytest.raises(ValueError, match=match):
        attention.eigen_bases(**{"q": q, "k": k, "v": v, **change})


def test_labels_come_back(rng):
    xr = pytest.importorskip("xarray")
    q, k, v = draw(rng)
    lq, lk = (xr.DataArray(x, dims=("batch", "head", "time", "width")) for x in (q, k))
    lv = xr.DataArray(v, dims=("batch", "head", "time", "value"), coords={"value": list("abcdef")})
    found = attention.eigen_bases(lq, lk, lv, rank=2)
    out = attention.eigen(lq, lk, lv, **found.options)
    assert out.dims == ("batch", "head", "time", "value")
    assert "".join(out.coords["value"].values) == "abcdef"
    np.testing.assert_array_equal(out, attention.eigen(q, k, v, **found.options))


@pytest.mark.cudasim
@pytest.mark.parametrize("rope", [None, 10.0])
def test_cuda_twins_with_groups_and_three_bases(rope, rng):
    q, k, v = (x[:1] for x in draw(rng, 3, 3, key_heads=1))
    basis = bases(rng, 1)
    device = {n: pa.to_device(b) for n, b in basis.items()}
    out, pullback = attention.vjp("eigen", *map(pa.to_device, (q, k, v)), **device, rope=rope, causal=True)
    expected, pullback_host = attention.vjp("eigen", q, k, v, **basis, rope=rope, causal=True)
    np.testing.assert_allclose(pa.to_host(out), expected, rtol=0, atol=2e-13)
    dout = rng.standard_normal(expected.shape)
    wanted = pullback_host(dout)
    for name, g in pullback(pa.to_device(dout)).items():
        np.testing.assert_allclose(pa.to_host(g), wanted[name], rtol=0, atol=1e-12 * abs(wanted[name]).max())
    for function in (attention.eigen_bases, attention.eigen_error_bound):
        options = {"rank": 1} if function is attention.eigen_bases else device
        with pytest.raises(TypeError, match="host"):
            function(*map(pa.to_device, (q, k, v)), **options)


@pytest.mark.parametrize("options", [
    {"rank": 2.5}, {"rank": (2.5, 1)}, {"rank": "2"}, {"energy": "a"}, {"budget": "a"}, {"energy": True},
])  # fmt: skip
def test_criteria_that_are_no_numbers_are_refused(options):
    x = np.random.default_rng(0).standard_normal((5, 4))
    with pytest.raises(ValueError, match=f"{next(iter(options))} is"):
        pa.attention.eigen_bases(x, x, x, **options)


@pytest.mark.parametrize("size", [1e160, 1e-170])
def test_the_energy_of_a_spectrum_does_not_leave_the_range(size):
    x = np.random.default_rng(0).standard_normal((30, 4)) * 2.0 ** -np.arange(4)
    wanted = pa.attention.eigen_bases(x, x, x, energy=0.9).ranks_key
    np.testing.assert_array_equal(pa.attention.eigen_bases(*[size * x] * 3, energy=0.9).ranks_key, wanted)
