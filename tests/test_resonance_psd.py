"""Theorems about the kernels: positive semi-definite, the feature map, bounds and invariances."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import primeattn as pa

from .test_resonance import EPS, VARIANTS, states

KERNELS = {name: options for name, options in VARIANTS.items() if name != "original"}
TABLE = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71])


def random_states(rng, n):
    return pa.PrimeStates.random(n, rng.integers(0, 20, n), n_primes=60, rng=rng)


def clustered(rng, n):
    """Eight prototypes, and copies of them with primes lost, phases and orientations jittered at three scales."""
    seeds = pa.PrimeStates.random(8, 12, n_primes=40, rng=rng).to_dicts()
    found = []
    for i in range(n):
        jitter = (0, 1e-9, 0.1)[i % 3]
        state = {}
        for p, (a, q) in seeds[i % 8].items():
            if rng.random() < 0.85:
                state[p] = (a * np.exp(1j * jitter * rng.standard_normal()), q + jitter * rng.standard_normal(4))
        found.append(state)
    return pa.PrimeStates.from_dicts(found)


def adversarial(rng, n):
    """What breaks the original: stars and chains of sets, planes of quaternions, opposite phases, wild magnitudes."""
    found = []
    for i in range(n):
        shape = i % 5
        if shape == 0:  # singletons and pairs: the averaging witness, many times over
            primes = rng.choice(TABLE[:6], rng.integers(1, 3), replace=False)
        elif shape == 1:  # a chain of nested sets
            primes = TABLE[: 1 + i // 5 % 20]
        elif shape == 2:  # one prime: a plane of quaternions
            primes = TABLE[:1]
        elif shape == 3:  # everything
            primes = TABLE
        else:  # all but one
            primes = np.delete(TABLE, i // 5 % 20)
        t = np.pi / 8 * rng.integers(0, 16)
        state = {}
        for p in primes:
            phase = rng.choice([0, np.pi, np.pi / 2])
            size = 10.0 ** rng.choice([-12, -3, 0, 3])
            state[int(p)] = (size * np.exp(1j * phase), (np.cos(t), np.sin(t), 0, 0))
        found.append(state)
    return pa.PrimeStates.from_dicts(found)


SETS = {"random": random_states, "clustered": clustered, "adversarial": adversarial}


@pytest.fixture(scope="module", params=[(name, n) for name in SETS for n in (64, 512)], ids=lambda p: f"{p[0]}-{p[1]}")
def batch(request):
    name, n = request.param
    return SETS[name](np.random.default_rng(n), n)


@pytest.mark.parametrize("variant", KERNELS)
@pytest.mark.parametrize("weights", [None, (1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["thirds", "alpha", "beta", "gamma"])
def test_kernels_are_positive_semi_definite(batch, variant, weights):
    spectrum = np.linalg.eigvalsh(pa.resonance.matrix(batch, weights=weights, **KERNELS[variant]))
    # rounding of entries in [0, 1] moves an eigenvalue by at most n eps / 2, and eigvalsh by a few eps of the largest
    assert spectrum[0] >= -len(batch) * EPS * spectrum[-1]
    assert spectrum[-1] > 1


def test_the_original_is_not(batch):
    """The sets above can tell: without this the test of the kernels could be blind."""
    spectrum = np.linalg.eigvalsh(pa.resonance.matrix(batch, kind="original"))
    assert spectrum[0] < -0.01


@pytest.mark.parametrize("weights", [None, (1, 0, 0), (0, 1, 0), (0, 0, 1), (0.2, 0.3, 0.5)])
def test_feature_map(batch, weights):
    F = pa.resonance.features(batch, weights=weights)
    K = pa.resonance.matrix(batch, weights=weights, normalizer="sqrt")
    np.testing.assert_allclose((F @ F.T).toarray(), K, rtol=0, atol=1e-14)  # the issue's; 20 primes a state: 20 eps
    F = pa.resonance.features(batch, weights=weights, amplitude=True)
    K = pa.resonance.matrix(batch, weights=weights, amplitude=True)
    np.testing.assert_allclose((F @ F.T).toarray(), K, rtol=0, atol=1e-14)


def test_feature_columns():
    s = pa.PrimeStates.from_dicts([{3: (1j, (0.5, 0.5, 0.5, 0.5))}, {}])
    F = pa.resonance.features(s, n_primes=4)
    assert F.shape == (2, 52)
    assert F.indices.tolist() == list(range(13, 26))  # index 1: the prime 3
    third, root2 = np.sqrt(1 / 3), np.sqrt(2)
    expected = [np.sqrt(0.5)] + 4 * [0.25 * third] + 6 * [0.25 * root2 * third] + [0, np.sqrt(1 / 6)]
    np.testing.assert_allclose(F.toarray()[0, 13:26], expected, atol=2 * EPS)
    assert pa.resonance.features(s).shape == (2, 26)
    assert pa.resonance.features(s[:0]).shape == (0, 0)
    assert pa.resonance.features(s.astype("float32")).dtype == np.float32
    with pytest.raises(ValueError, match=r"n_primes is 1 but prime 3 is number 2: pass n_primes >= 2"):
        pa.resonance.features(s, n_primes=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_bounds_and_diagonal(batch, variant):
    K = pa.resonance.matrix(batch, **VARIANTS[variant])
    np.testing.assert_array_equal(K, K.T)
    assert K.min() >= 0
    # unit quaternions hold their squared length to 8 eps, and it enters squared: 16 eps; 20 terms, each rounded
    slack = 48 * EPS
    assert K.max() <= 1 + slack
    active = batch.n_active > 0
    np.testing.assert_allclose(np.diag(K)[active], 1, rtol=0, atol=slack)
    assert (K[~active] == 0).all()


def rotated(s, r):
    q = np.array([np.array(left(r, p)) for p in s.orientation]).reshape(-1, 4)
    return pa.PrimeStates(s.indptr, s.primes, s.amplitude, q)


def left(a, b):
    """The Hamilton product."""
    return (
        a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
        a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
        a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
        a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_invariances(rng, variant):
    options = VARIANTS[variant]
    s = states(rng, 20)
    K = pa.resonance.matrix(s, **options)
    signs = rng.choice([-1.0, 1.0], s.nnz)[:, None]
    flipped = pa.PrimeStates(s.indptr, s.primes, s.amplitude, signs * s.orientation)
    np.testing.assert_array_equal(pa.resonance.matrix(flipped, **options), K)  # exact: only signs change
    phase = pa.PrimeStates(s.indptr, s.primes, s.amplitude * np.exp(0.7j), s.orientation)
    turned = rotated(s, np.array([0.5, -0.5, 0.1, 0.7]) / 1.0)
    for other in (phase, turned):
        # rotating and normalising again rounds each of 6 numbers a prime by a few eps
        np.testing.assert_allclose(pa.resonance.matrix(other, **options), K, rtol=0, atol=16 * EPS)
    order = rng.permutation(20)
    np.testing.assert_array_equal(pa.resonance.matrix(s[order], **options), K[np.ix_(order, order)])
    if variant != "original":  # the measure of scale: only Ruzicka sees it, and only when it is not common
        scaled = pa.PrimeStates(s.indptr, s.primes, 8 * s.amplitude, s.orientation)
        np.testing.assert_allclose(pa.resonance.matrix(scaled, **options), K, rtol=0, atol=4 * EPS)


numbers = st.floats(-4, 4, allow_nan=False, width=32)
quaternions = st.tuples(numbers, numbers, numbers, numbers).filter(lambda q: sum(x * x for x in q) > 1e-3)
entries = st.tuples(st.complex_numbers(max_magnitude=4, allow_nan=False, allow_infinity=False), quaternions)
some_states = st.lists(st.dictionaries(st.sampled_from([2, 3, 5, 7]), entries, max_size=4), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(some_states, some_states, st.sampled_from(sorted(VARIANTS)))
def test_properties_hold_for_any_states(first, second, variant):
    options = VARIANTS[variant]
    a, b = pa.PrimeStates.from_dicts(first), pa.PrimeStates.from_dicts(second)
    K = pa.resonance.matrix(a, b, **options)
    np.testing.assert_array_equal(K, pa.resonance.matrix(b, a, **options).T)
    assert ((K >= 0) & (K <= 1 + 48 * EPS)).all()
    disjoint = np.array([[not set(x) & set(y) for y in second] for x in first])
    assert (K[disjoint] == 0).all()
    if variant != "original":
        both = pa.PrimeStates.from_dicts(first + second)
        spectrum = np.linalg.eigvalsh(pa.resonance.matrix(both, **options))
        assert spectrum[0] >= -16 * EPS * max(1, spectrum[-1])
