"""Certificates of eigenvalues against 50 digits, and the ends of spectra of matrices that are never stored."""

import mpmath
import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.linalg import aslinearoperator

import primeattn as pa
from primeattn.study import certify, operator, spectrum

from .naive import resonance as naive
from .test_resonance import VARIANTS

EPS = np.finfo(float).eps


def exact_eigenvalues(matrix):
    """Of the float64 matrix as it is, in 50 digits."""
    with mpmath.workdps(50):
        return sorted(mpmath.eigsy(mpmath.matrix(matrix.tolist()), eigvals_only=True))


def graded(rng):
    """Eigenvalues from 1e-14 to 1e3, some of them nearly equal."""
    q = np.linalg.qr(rng.standard_normal((9, 9)))[0]
    a = q * np.array([1e-14, 1e-10, 1e-10 + 1e-16, 1e-3, 1, 1, 1 + 1e-12, 10, 1e3]) @ q.T
    return (a + a.T) / 2


MATRICES = {
    "gram of expressive": lambda rng: pa.study.gram("expressive", rng.standard_normal((12, 2))),
    "original score": lambda rng: pa.resonance.matrix(
        pa.PrimeStates.random(14, 3, n_primes=8, rng=rng), kind="original"
    ),
    "graded": graded,
    "huge": lambda rng: 1e300 * graded(rng),
    "tiny": lambda rng: 1e-300 * graded(rng),
    "rank one": lambda rng: np.ones((7, 7)),
    "one": lambda rng: np.array([[-3.0]]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_certificates_hold_at_50_digits(rng, name):
    matrix = MATRICES[name](rng)
    matrix = (matrix + matrix.T) / 2
    found = certify(matrix)
    exact = exact_eigenvalues(matrix)
    worst = max(abs(mpmath.mpf(float(v)) - e) for v, e in zip(found.eigenvalues, exact, strict=True))
    assert worst <= found.error
    # and the bound is worth something: within 1e5 units of the largest
    assert found.error <= 1e5 * 2.0**-53 * max(abs(exact[0]), abs(exact[-1]))
    sign = "negative" if exact[0] < -2 * found.error else "positive" if exact[0] > 2 * found.error else None
    assert sign is None or found.verdict == sign


def test_a_wrong_bound_would_be_noticed(rng):
    """The check above is alive: a thousandth of the bound does not hold for all of these."""
    broken = 0
    for _ in range(20):
        a = rng.standard_normal((8, 8))
        a = a + a.T
        found = certify(a)
        exact = exact_eigenvalues(a)
        worst = max(abs(mpmath.mpf(float(v)) - e) for v, e in zip(found.eigenvalues, exact, strict=True))
        assert worst <= found.error
        broken += worst > found.error / 1000
    assert broken


def test_zero_and_entry_error():
    assert certify(np.zeros((3, 3))).error == 0
    assert certify(np.zeros((3, 3)), entry_error=1e-3).verdict == "zero within the error"
    plain, wide = certify(np.eye(3)), certify(np.eye(3), entry_error=0.5)
    assert plain.verdict == "positive"
    assert wide.error == pytest.approx(plain.error + 1.5)
    assert wide.verdict == "zero within the error"


def test_the_vector_is_that_of_the_smallest(rng):
    a = rng.standard_normal((6, 6))
    a = a + a.T
    found = certify(a)
    np.testing.assert_allclose(a @ found.vector, found.smallest * found.vector, atol=1e-13)


@pytest.mark.parametrize(
    ("matrix", "error", "says"),
    [
        (np.zeros((0, 0)), ValueError, "at least one row"),
        (np.zeros((2, 3)), ValueError, "square"),
        ([[1.0, np.inf], [np.inf, 1.0]], ValueError, "NaN or infinite"),
        ([[1.0, 2.0], [3.0, 1.0]], ValueError, r"entries \(0, 1\) and \(1, 0\)"),
        ([[1j]], TypeError, "real numbers"),
    ],
)
def test_what_has_no_certificate_is_refused(matrix, error, says):
    with pytest.raises(error, match=says):
        certify(matrix)
    with pytest.raises(error, match=says):
        spectrum(matrix)


# operators


@pytest.fixture(scope="module")
def states():
    return pa.PrimeStates.random(150, np.random.default_rng(0).integers(0, 9, 150), n_primes=40, rng=1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_products_are_those_of_the_matrix(states, rng, variant):
    x = rng.standard_normal((150, 3))
    matrix = pa.resonance.matrix(states, **VARIANTS[variant])
    a = operator(states, **VARIANTS[variant])
    np.testing.assert_allclose(a @ x, matrix @ x, atol=1e-12)
    np.testing.assert_allclose(a @ x[:, 0], matrix @ x[:, 0], atol=1e-12)
    np.testing.assert_allclose(a.T @ x, matrix @ x, atol=1e-12)
    assert a.norm >= np.linalg.norm(matrix, 2)
    assert 0 < a.matrix_error < 1e-11


def test_products_with_empty_states(rng):
    """Against the naive score."""
    s = pa.PrimeStates.random(70, rng.integers(0, 5, 70), n_primes=12, rng=rng)
    own = naive.states_of(s.indptr, s.primes, np.stack([s.amplitude.real, s.amplitude.imag], axis=1), s.orientation)
    expected = naive.matrix(own, own, (0.33, 0.33, 0.34), kind="original")
    np.testing.assert_allclose(operator(s, kind="original") @ np.eye(70), expected, atol=1e-14)


def test_many_tiles():
    s = pa.PrimeStates.random(5000, 2, n_primes=2000, rng=0)
    x = np.random.default_rng(0).standard_normal((5000, 2))
    expected = pa.resonance.sparse_matrix(s, kind="original") @ x
    np.testing.assert_allclose(operator(s, kind="original") @ x, expected, atol=1e-12)


def test_float32_states_and_no_states(states):
    single = operator(states.astype("float32"), kind="original")
    assert single.dtype == np.float64
    x = np.ones(150)
    np.testing.assert_allclose(single @ x, operator(states, kind="original") @ x, rtol=1e-5)
    with pytest.raises(ValueError, match="states are empty"):
        operator(states[:0])
    with pytest.raises(TypeError, match="prime states are wanted"):
        operator(np.eye(3))


# ends of spectra


@pytest.mark.parametrize("form", ["dense", "sparse", "operator", "linear operator"])
def test_both_ends(states, form):
    matrix = pa.resonance.matrix(states, kind="original")
    exact = np.linalg.eigvalsh(matrix)
    given = {
        "dense": matrix,
        "sparse": csr_array(matrix),
        "operator": operator(states, kind="original"),
        "linear operator": aslinearoperator(matrix),
    }[form]
    found = spectrum(given, k=3, tol=1e-6)
    assert found.converged
    assert found.negative
    assert found.rounding_covered == (form != "linear operator")
    np.testing.assert_allclose(found.smallest, exact[:3], atol=1e-6)
    np.testing.assert_allclose(found.largest, exact[::-1][:3], atol=1e-6)
    for end in ("smallest", "largest"):
        values, errors, vectors = (getattr(found, end + s) for s in ("", "_error", "_vectors"))
        # eigvalsh, whose numbers these are compared with, rounds, too: by some eps |A| here
        assert (abs(exact[:, None] - values).min(axis=0) <= errors + 4 * EPS * abs(exact).max()).all()
        residual = np.linalg.norm(matrix @ vectors - vectors * values, axis=0)
        assert (residual <= errors + 1e-13).all()
    assert exact[0] <= found.smallest[0] + found.rounding + 1e-15


def test_errors_are_honest_when_stopped_early(states):
    matrix = pa.resonance.matrix(states, kind="original")
    exact = np.linalg.eigvalsh(matrix)
    found = spectrum(matrix, tol=1e-12, most=3, width=2)
    assert not found.converged
    assert found.products == 4
    assert abs(exact - found.smallest[0]).min() <= found.smallest_error[0]


def test_a_kernel_has_no_negative_end(states):
    found = spectrum(operator(states), tol=1e-3)
    assert not found.negative


def test_one_end_and_small_matrices():
    found = spectrum(np.diag([3.0, 1.0, 2.0]), k=3, ends="largest")
    np.testing.assert_allclose(found.largest, [3, 2, 1])
    assert found.smallest.size == 0
    assert spectrum([[2.0]]).smallest.tolist() == [2.0]
    zeros = spectrum(np.zeros((4, 4)))
    assert zeros.smallest.tolist() == [0.0]
    assert zeros.converged


@pytest.mark.parametrize("method", ["randomized", "nystrom"])
def test_other_methods_find_the_largest(states, method):
    a = operator(states, normalizer="sqrt")
    exact = np.linalg.eigvalsh(pa.resonance.matrix(states, normalizer="sqrt"))[::-1]
    found = spectrum(a, k=2, ends="largest", method=method, width=100, tol=1e-3)
    np.testing.assert_allclose(found.largest, exact[:2], rtol=0.05)
    assert (abs(exact[:, None] - found.largest).min(axis=0) <= found.largest_error).all()


def test_nystrom_refuses_what_is_not_psd(states):
    with pytest.raises(ValueError, match="not positive semidefinite"):
        spectrum(operator(states, kind="original"), ends="largest", method="nystrom", width=100)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 4}, "k is 4, but the matrix has 3 eigenvalues"),
        ({"ends": "middle"}, "ends is 'middle'"),
        ({"method": "power"}, "method is 'power'"),
        ({"method": "nystrom"}, "finds the largest only"),
        ({"tol": 0}, "tol is 0"),
        ({"most": True}, "most is True"),
    ],
)
def test_options_that_are_none_are_refused(options, says):
    with pytest.raises(ValueError, match=says):
        spectrum(np.eye(3), **options)


@pytest.mark.parametrize("form", [csr_array, aslinearoperator])
def test_shapes_are_checked(form):
    with pytest.raises(ValueError, match="square"):
        spectrum(form(np.ones((2, 3))))


def test_sparse_matrices_are_checked():
    with pytest.raises(ValueError, match="not symmetric"):
        spectrum(csr_array(np.array([[0.0, 1.0], [0.0, 0.0]])))
    with pytest.raises(ValueError, match="NaN"):
        spectrum(csr_array(np.array([[np.nan]])))


def test_to_xarray(states):
    found = spectrum(operator(states, kind="original"), k=2).to_xarray()
    assert found.eigenvalue.dims == ("end", "order")
    assert found.vector.sizes == {"end": 2, "point": 150, "order": 2}
    one = spectrum(np.eye(3), ends="largest").to_xarray()
    assert one.end.values.tolist() == ["largest"]


def test_same_seed_same_bits(states):
    a = operator(states, kind="original")
    np.testing.assert_array_equal(spectrum(a, rng=1).smallest_vectors, spectrum(a, rng=1).smallest_vectors)


@pytest.mark.parametrize("error", [-1.0, np.nan, np.inf, "1", True])
def test_a_certificate_wants_an_entry_error_that_is_one(error):
    with pytest.raises(ValueError, match=r"entry_error is .*: a finite number, 0 or more, is wanted"):
        certify([[1.0, 2.0], [2.0, 1.0]], entry_error=error)


def test_certificates_at_the_ends_of_float64():
    with pytest.raises(ValueError, match="beyond float64"):
        certify(np.full((3, 3), 1.7e308))
    with pytest.raises(ValueError, match="beyond float64"):
        certify(np.eye(3), entry_error=1.7e308)
    least = 5e-324
    found = certify(np.full((3, 3), least))
    assert found.error >= least
    assert abs(found.largest - 3 * least) <= found.error
    assert certify(np.zeros((3, 3)), entry_error=least).error >= 3 * least
