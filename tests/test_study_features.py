"""Random features against exact kernels: unbiased, and their error falls as one over the root of their number."""

import numpy as np
import pytest

import primeattn as pa
from primeattn.study import feature_error, minhash, positive_features

STATES = pa.PrimeStates.random(30, np.random.default_rng(0).integers(1, 9, 30), n_primes=16, rng=1)
VECTORS = 0.4 * np.random.default_rng(2).standard_normal((30, 4))


def jaccard(states):
    sets = [set(d) for d in states.to_dicts()]
    return np.array([[len(a & b) / len(a | b) for b in sets] for a in sets])


def test_minhash_estimates_jaccard():
    n = 4096
    marks = minhash(STATES, n)
    assert marks.shape == (30, n)
    assert marks.dtype == np.uint64
    share = (marks[:, None] == marks).mean(axis=-1)
    exact = jaccard(STATES)
    z = (share - exact) / np.sqrt(np.maximum(exact * (1 - exact), 1e-9) / n)
    pairs = np.triu_indices(30, 1)
    assert abs(z[pairs]).max() < 5  # 435 pairs
    assert abs(z[pairs].mean()) < 0.5  # unbiased: pairs are correlated, so not 1 / sqrt(435)
    assert 0.8 < z[pairs][exact[pairs] > 0].std() < 1.2  # and the variance is J (1 - J) / n


def test_minhash_of_batches_and_of_nothing():
    assert (minhash(STATES, 8, 3)[10:] == minhash(STATES[10:], 8, 3)).all()
    assert (minhash(STATES, 8, 3) != minhash(STATES, 8, 4)).any()
    empty = pa.PrimeStates.from_dicts([{}, {2: 1}, {}])
    marks = minhash(empty, 4)
    assert (marks[[0, 2]] == np.iinfo(np.uint64).max).all()
    assert (marks[1] < np.iinfo(np.uint64).max).all()
    assert minhash(STATES[:0], 4).shape == (0, 4)


@pytest.mark.parametrize("orthogonal", [True, False])
def test_positive_features_estimate_softmax(orthogonal):
    exact = np.exp(VECTORS @ VECTORS.T / 2)
    total, n, repeats = np.zeros_like(exact), 512, 40
    for seed in range(repeats):
        features = positive_features(VECTORS, n, seed, orthogonal=orthogonal)
        assert (features > 0).all()
        total += features @ features.T
    both = 0.5 * ((VECTORS[:, None] + VECTORS) ** 2).sum(axis=-1)
    error = exact * np.sqrt(np.expm1(both) / (n * repeats))  # of independent directions
    assert (abs(total / repeats - exact) < 5 * error + 1e-12).all()


def test_orthogonal_directions_have_less_variance():
    x = 0.4 * np.random.default_rng(2).standard_normal((30, 16))
    exact, pairs = np.exp(x @ x.T / 4), np.triu_indices(30, 1)

    def spread(orthogonal):
        found = [positive_features(x, 64, seed, orthogonal=orthogonal) for seed in range(100)]
        return np.mean([((f @ f.T / exact - 1)[pairs] ** 2).mean() for f in found])

    assert spread(True) < 0.85 * spread(False)  # 0.040 and 0.060


def test_scale_and_seed():
    x = np.array([[1.0, 0.0], [-1.0, 0.0]])
    features = positive_features(x, 16, scale=1.0)
    np.testing.assert_allclose(features[0] @ features[1], np.exp(-1))  # opposite vectors: exact with any directions
    np.testing.assert_array_equal(features, positive_features(2 * x, 16, scale=0.25))
    np.testing.assert_array_equal(features[1:], positive_features(x[1:], 16, scale=1.0))


@pytest.mark.parametrize(("kernel", "points"), [("jaccard", STATES), ("softmax", VECTORS)])
def test_error_falls_as_theory_has_it(kernel, points):
    curve = feature_error(kernel, points, (32, 128, 512), repeats=24)
    assert abs(curve.attrs["slope"] + 0.5) < 0.08
    typical = np.sqrt((curve.error**2).mean("repeat"))
    np.testing.assert_allclose(typical, curve.expected, rtol=0.3)
    assert curve.error.sizes == {"size": 3, "repeat": 24}
    assert curve.identical(feature_error(kernel, points, (32, 128, 512), repeats=24))


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: minhash(VECTORS, 4), TypeError, "PrimeStates are wanted"),
        (lambda: minhash(STATES, 0), ValueError, "n is 0"),
        (lambda: positive_features(STATES, 4), TypeError, "minhash is for states"),
        (lambda: positive_features(VECTORS, 4, scale=-1.0), ValueError, r"scale is -1\.0"),
        (lambda: positive_features([[np.nan]], 4), ValueError, "NaN"),
        (lambda: feature_error("cosine", VECTORS), ValueError, "kernel is 'cosine'"),
        (lambda: feature_error(VECTORS, VECTORS), ValueError, "kernel is array"),
        (lambda: feature_error("jaccard", VECTORS), TypeError, "do not go with 'jaccard'"),
        (lambda: feature_error("softmax", VECTORS[:1]), ValueError, "at least 2"),
        (lambda: feature_error("softmax", VECTORS, ()), ValueError, "sizes is empty"),
        (lambda: feature_error("softmax", VECTORS, repeats=0), ValueError, "repeats is 0"),
    ],
)
def test_what_has_no_features_is_refused(call, error, says):
    with pytest.raises(error, match=says):
        call()
