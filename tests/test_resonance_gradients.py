"""Gradients of the scores: complex step through the oracle, central differences of ourselves, wrong ones refused."""

import numpy as np
import pytest

import primeattn as pa

from .naive import resonance as naive
from .test_resonance import EPS, VARIANTS, WEIGHTS, states

STEP = 1e-200  # of the complex step: no subtraction, so no rounding; squares of it vanish


def oracle(function, a, b, weights, options):
    """The scores as a function of (amplitude, orientation) of both sides; arrays may be complex."""
    index = [(s.indptr, s.primes) for s in (a, b)]

    def run(first, second, w):
        x, y = (naive.states_of(*i, *values) for i, values in zip(index, (first, second), strict=True))
        if function == "matrix":
            return naive.matrix(x, y, w, **options)
        n = max(len(x), len(y)) if min(len(x), len(y)) else 0
        x, y = (z * n if len(z) == 1 else z for z in (x, y))
        return np.array([naive.score(p, q, w, **options) for p, q in zip(x, y, strict=True)])

    return run


def numbers(s):
    return [np.stack([s.amplitude.real, s.amplitude.imag], axis=1).astype(complex), s.orientation.astype(complex)]


def complex_step(run, arrays, dout):
    """d sum(dout * run()) by every number of ``arrays``, one at a time."""
    found = []
    for x in arrays:
        g = np.zeros(x.shape)
        for at in np.ndindex(x.shape):
            kept = x[at]
            x[at] = kept + 1j * STEP
            g[at] = (dout * np.imag(run())).sum() / STEP
            x[at] = kept
        found.append(g)
    return found


def assert_gradients(found, expected, atol):
    for name, (amplitude, orientation) in expected.items():
        g = found[name]
        parts = np.stack([g["amplitude"].real, g["amplitude"].imag], axis=1)
        np.testing.assert_allclose(parts, amplitude, rtol=0, atol=atol)
        np.testing.assert_allclose(g["orientation"], orientation, rtol=0, atol=atol)


def compare(rng, function, a, b, options):
    """``(gradients, expected, scale)``; b None: one batch on both sides."""
    out, pullback = pa.resonance.vjp(function, a, b, weights=WEIGHTS, **options)
    dout = rng.standard_normal(out.shape)
    found = pullback(dout)
    run = oracle(function, a, a if b is None else b, WEIGHTS, options)
    first = numbers(a)
    second = first if b is None else numbers(b)
    weights = np.array(WEIGHTS, dtype=complex)
    np.testing.assert_allclose(out, run(first, second, WEIGHTS).real, rtol=0, atol=16 * EPS)
    sides = {"a": first} if b is None else {"a": first, "b": second}
    expected = {name: complex_step(lambda: run(first, second, WEIGHTS), arrays, dout) for name, arrays in sides.items()}
    by_weights = complex_step(lambda: run(first, second, weights), [weights], dout)[0]
    largest = max(abs(g).max(initial=1) for pair in expected.values() for g in pair)
    return found, expected, by_weights, largest


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("function", "n", "m"), [("score", 7, 7), ("score", 1, 6), ("score", 6, 1), ("matrix", 3, 5)])
def test_gradients_equal_the_complex_step(rng, variant, function, n, m):
    a, b = states(rng, n), states(rng, m)
    if n == 1:
        a = pa.PrimeStates.random(1, 4, n_primes=7, rng=rng)
    if m == 1:
        b = pa.PrimeStates.random(1, 4, n_primes=7, rng=rng)
    found, expected, by_weights, largest = compare(rng, function, a, b, VARIANTS[variant])
    assert_gradients(found, expected, 1e-11 * largest)  # the contract; a phase has gradients of 1/|a|
    np.testing.assert_allclose(found["weights"], by_weights, rtol=0, atol=1e-12)
    assert any(abs(g).max(initial=0) > 1e-3 for pair in expected.values() for g in pair)  # not trivially zero


@pytest.mark.parametrize("variant", [v for v in VARIANTS if "ruzicka" not in v])
def test_gradients_of_a_batch_with_itself(rng, variant):
    found, expected, by_weights, largest = compare(rng, "matrix", states(rng, 5), None, VARIANTS[variant])
    assert set(found) == {"a", "weights"}
    assert_gradients(found, expected, 1e-11 * largest)
    np.testing.assert_allclose(found["weights"], by_weights, rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", ["ruzicka", "ruzicka-sqrt"])
def test_gradients_of_ruzicka_with_itself(rng, variant):
    """min is not smooth where a state meets itself: one half of each side makes the constant K(A, A) flat."""
    s = states(rng, 5)
    out, pullback = pa.resonance.vjp("matrix", s, weights=(1, 0, 0), **VARIANTS[variant])
    diagonal = pullback(np.eye(5))["a"]["amplitude"]
    assert abs(diagonal).max() < 1e-12
    dout = rng.standard_normal(out.shape)
    together = pullback(dout)["a"]["amplitude"]
    _, separate = pa.resonance.vjp("matrix", s, s, weights=(1, 0, 0), **VARIANTS[variant])
    parts = separate(dout)
    np.testing.assert_allclose(together, parts["a"]["amplitude"] + parts["b"]["amplitude"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
def test_merging_and_index_agree(rng, variant):
    """The specification (two gathers by merging, as on CUDA) against the fast gather by the inverted index."""
    from primeattn.resonance._gradients import by_index, by_merging
    from primeattn.resonance._options import check_form, profiles
    from primeattn.resonance._pairs import score_table

    options = {"kind": "kernel", "normalizer": "union", "overlap": "jaccard", "amplitude": False} | VARIANTS[variant]
    form = check_form(weights=WEIGHTS, **options)
    x, y, w = profiles(states(rng, 70), states(rng, 131), form)
    dout = rng.standard_normal((70, 131))
    slow = by_merging(x, y, form[:2], w, dout.reshape(-1), False, 131, 1)
    fast = by_index(x, y, form[:2], w, dout.reshape(-1))
    for g, h in zip(slow, fast, strict=True):
        np.testing.assert_allclose(g, h, rtol=0, atol=1e-12)  # sums of 131 terms of size 1 in another order
    table = score_table(x, y, form[:2], w)
    np.testing.assert_allclose(
        table, pa.resonance.matrix(*_same(rng, 70, 131), weights=WEIGHTS, **VARIANTS[variant]), rtol=0, atol=16 * EPS
    )


def _same(rng, *sizes):
    """The batches that a fresh generator of the same seed draws."""
    again = np.random.default_rng(20260101)
    return [states(again, n) for n in sizes]


def test_central_differences_along_amplitudes(rng):
    """Independent of the oracle: the public forward, moved by h. Error h^2 + eps / h = 1e-10 at h = 1e-5."""
    s, other = states(rng, 6), states(rng, 4)
    out, pullback = pa.resonance.vjp("matrix", s, other, amplitude=True)
    dout = rng.standard_normal(out.shape)
    g = pullback(dout)["a"]["amplitude"]
    h = 1e-5
    for at in range(s.nnz):
        for direction, expected in ((1, g[at].real), (1j, g[at].imag)):
            moved = []
            for sign in (1, -1):
                z = s.amplitude.copy()
                z[at] += sign * h * direction
                t = pa.PrimeStates(s.indptr, s.primes, z, s.orientation)
                moved.append((dout * pa.resonance.matrix(t, other, amplitude=True)).sum())
            assert (moved[0] - moved[1]) / (2 * h) == pytest.approx(expected, abs=1e-7 * max(1, abs(g).max()))


@pytest.mark.parametrize("broken", ["half", "radial", "scaled"])
def test_wrong_derivatives_are_refused(rng, broken):
    """The check above can fail: f' = d for d^2, an unprojected quaternion gradient, one part in a million."""
    a, b = states(rng, 6), states(rng, 5)
    found, expected, _, largest = compare(rng, "matrix", a, b, {"amplitude": True})
    assert_gradients(found, expected, 1e-11 * largest)
    wrong = {name: dict(found[name]) for name in "ab"}
    if broken == "half":
        wrong["a"]["orientation"] = wrong["a"]["orientation"] / 2
    elif broken == "radial":
        wrong["b"]["orientation"] = wrong["b"]["orientation"] + 0.1 * b.orientation
    else:
        wrong["a"]["amplitude"] = wrong["a"]["amplitude"] * (1 + 1e-6)
    with pytest.raises(AssertionError):
        assert_gradients(wrong, expected, 1e-11 * largest)


@pytest.mark.parametrize("variant", VARIANTS)
def test_orientation_gradients_are_tangent_and_phases_turn_on_the_spot(rng, variant):
    s, other = states(rng, 8), states(rng, 9)
    out, pullback = pa.resonance.vjp("matrix", s, other, **VARIANTS[variant])
    g = pullback(rng.standard_normal(out.shape))["a"]
    np.testing.assert_allclose((g["orientation"] * s.orientation).sum(axis=1), 0, atol=1e-13)
    if variant in ("original", "union", "sqrt"):  # magnitudes do not matter, so no gradient along them
        along = (g["amplitude"] * s.amplitude.conj()).real
        np.testing.assert_allclose(along, 0, atol=1e-13)
    if variant == "amplitude":  # scaling a whole state changes nothing
        along = np.add.reduceat((g["amplitude"] * s.amplitude.conj()).real, s.indptr[:-1][s.n_active > 0])
        np.testing.assert_allclose(along, 0, atol=1e-13)


def test_decided_subgradients():
    pure = pa.PrimeStates([0, 1, 2], [2, 2], [1, 1], [[1, 0, 0, 0], [0, 1, 0, 0]])
    _, pullback = pa.resonance.vjp("score", pure[:1], pure[1:], kind="original")
    assert (pullback([1])["a"]["orientation"] == 0).all()  # |q.q'| = 0
    zero = pa.PrimeStates.from_dicts([{2: 0, 3: 1}, {2: 0}])
    for options in VARIANTS.values():
        out, pullback = pa.resonance.vjp("matrix", zero, **options)
        g = pullback(np.ones_like(out))["a"]
        assert np.isfinite(g["amplitude"]).all()
        assert np.isfinite(g["orientation"]).all()
        assert (g["amplitude"][[0, 2]] == 0).all()  # amplitude 0
    none = pa.PrimeStates.from_dicts([{}, {}])
    out, pullback = pa.resonance.vjp("matrix", none)
    g = pullback(np.ones_like(out))
    assert g["a"]["amplitude"].shape == (0,)
    assert g["a"]["orientation"].shape == (0, 4)
    assert g["weights"].tolist() == [0, 0, 0]


def test_float32_gradients(rng):
    a, b = states(rng, 6, dtype="float32"), states(rng, 5, dtype="float32")
    out, pullback = pa.resonance.vjp("matrix", a, b, amplitude=True)
    dout = rng.standard_normal(out.shape)
    found = pullback(dout)
    assert found["a"]["amplitude"].dtype == np.complex64
    assert found["a"]["orientation"].dtype == np.float32
    assert found["weights"].dtype == np.float32
    wide = pa.resonance.vjp("matrix", a.astype("float64"), b.astype("float64"), amplitude=True)[1](dout)
    for name in ("amplitude", "orientation"):
        exact = wide["a"][name]
        # 30 terms, a few eps of float32 each
        np.testing.assert_allclose(found["a"][name], exact, rtol=0, atol=1e-5 * max(1, abs(exact).max()))


def test_threads_do_not_change_a_bit(rng):
    import numba

    s = states(rng, 100)
    dout = rng.standard_normal((100, 100))
    before, found = numba.get_num_threads(), []
    try:
        for threads in (1, before):
            numba.set_num_threads(threads)
            found.append(pa.resonance.vjp("matrix", s, amplitude=True)[1](dout))
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(found[0]["a"]["amplitude"], found[1]["a"]["amplitude"])
    np.testing.assert_array_equal(found[0]["weights"], found[1]["weights"])


def test_refusals(rng):
    s = states(rng, 3)
    with pytest.raises(ValueError, match="function is 'components': pass 'score', 'matrix' or 'attention'"):
        pa.resonance.vjp("components", s, s)
    with pytest.raises(ValueError, match="pass b, or use 'matrix'"):
        pa.resonance.vjp("score", s)
    _, pullback = pa.resonance.vjp("matrix", s)
    with pytest.raises(ValueError, match=r"dout is float64 \(3,\): the output is float64 \(3, 3\)"):
        pullback(np.ones(3))
