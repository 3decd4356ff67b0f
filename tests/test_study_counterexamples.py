"""Witnesses found from nothing, made small, and verified: both of the original resonance score, and expressive's."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS
from primeattn.study import counterexample
from primeattn.study._points import States
from primeattn.study._sure import Sure, Undecided, is_sure, sure

from .naive import resonance as naive

ROOT = float(np.sqrt(2))


def naive_table(states, kind="original"):
    own = naive.states_of(
        states.indptr, states.primes, np.stack([states.amplitude.real, states.amplitude.imag], 1), states.orientation
    )
    return naive.matrix(own, own, (0.33, 0.33, 0.34), kind=kind)


def holds(witness):
    """A witness of "psd" against the naive score: c^T K c is what it says, and below 0."""
    c, table = np.array(witness.coefficients), naive_table(witness.points)
    np.testing.assert_allclose(c @ table @ c, witness.value, atol=1e-12)
    low, high = witness.bounds
    return low <= witness.value <= high < 0 and witness.verified in ("exact", "interval")


@pytest.mark.parametrize(("search", "seed"), [("lattice", 0), ("random", 0), ("random", 1), ("random", 2)])
def test_averaging(search, seed):
    """{2}, {2, 3}, {3}: the smallest witness there is, whichever way it was found."""
    found = counterexample("resonance:original", "psd", seed, search=search)
    assert holds(found)
    assert sorted(map(sorted, found.points.to_dicts())) == [[2], [2, 3], [3]]
    assert found.verified == "exact"
    assert found.value == pytest.approx(-0.34, abs=1e-15)  # 3 - 4 * 0.835
    assert found.bounds[0] <= -0.34 <= found.bounds[1]
    # the eigenvalue of the specification: 1 - 0.835 sqrt 2
    assert np.linalg.eigvalsh(naive_table(found.points))[0] == pytest.approx(1 - 0.835 * ROOT)


@pytest.mark.parametrize(("search", "seed"), [("lattice", 0), ("random", 0), ("random", 2)])
def test_absolute_value(search, seed):
    """On one prime: quaternions at 0, 45, 90 and 135 degrees."""
    found = counterexample("resonance:original", "psd", seed, primes=1, search=search)
    assert holds(found)
    assert len(found.points) == 4
    assert set(found.points.primes) == {2}
    q = found.points.orientation
    cosines = np.sort(abs(q @ q.T)[np.triu_indices(4, 1)])
    np.testing.assert_allclose(cosines, [0, 0, *[ROOT / 2] * 4], atol=1e-15)
    assert found.verified == "interval"
    assert found.value == pytest.approx(0.33 * 4 * (1 - ROOT))
    eigenvalue = np.linalg.eigvalsh(naive_table(found.points))[0]
    assert eigenvalue == pytest.approx(0.33 * (1 - ROOT))  # -0.137


def test_uphill_finds_one_too():
    found = counterexample("resonance:original", "psd", 0, primes=2, search="gradient")
    assert holds(found)


def test_no_three_states_on_one_prime_fail():
    """A theorem of the specification; the lattices hold 40 orientations, all triples of them."""
    space = States("original", 1)
    for lattice in space.lattices(3):
        table = space.table(lattice)
        for i in range(len(lattice)):
            part = table[np.ix_([i, -1, -2], [i, -1, -2])]
            assert np.linalg.eigvalsh(part)[0] > -1e-12


@pytest.mark.parametrize("search", ["lattice", "random", "gradient"])
def test_two_points_of_expressive_attention(search):
    found = counterexample("expressive", "psd", search=search, width=1)
    assert found.verified == "exact"
    assert found.points.shape == (2, 1)
    x, y = (Fraction(float(v)) for v in found.points[:, 0])

    def f(z):
        return z * z / (1 + z * z)

    # k / k(x, x), in fractions: the published kernel, not the program's
    table = [[f(a * b) / f(x * x) for b in (x, y)] for a in (x, y)]
    c = found.coefficients
    exact = sum(table[i][j] * c[i] * c[j] for i in range(2) for j in range(2))
    assert exact < 0
    assert found.bounds[0] <= exact <= found.bounds[1]
    assert found.value == pytest.approx(float(exact))
    assert table[0][0] * table[1][1] - table[0][1] ** 2 < 0  # the determinant of the theory page
    assert sorted(abs(v) for v in found.points[:, 0]) == [1, 2]


@pytest.mark.parametrize("name", ["resonance:kernel", "dot_product", "squared"])
def test_nothing_is_found_where_a_proof_holds(name):
    assert counterexample(name, "psd", width=1, primes=2, search=("lattice", "random")) is None


@pytest.mark.parametrize(
    ("kernel", "property", "fails"),
    [
        ("expressive", "bounded", True),  # k(1, 2) / sqrt(k(1, 1) k(2, 2)) > 1
        ("dot_product", "bounded", False),  # a Gaussian
        ("dot_product", "sign_invariant", True),
        ("squared", "sign_invariant", False),
        ("squared", "scale_invariant", False),
        ("expressive", "scale_invariant", True),
        ("dot_product", "shift_invariant", False),
        ("squared", "shift_invariant", True),
        ("expressive", "triangle", True),
        ("squared", "symmetric", False),
        ("resonance:original", "triangle", True),
        ("resonance:kernel", "triangle", False),
        ("resonance:original", "bounded", False),
        ("resonance:original", "sign_invariant", False),
        ("resonance:original", "scale_invariant", False),
        ("resonance:original", "shift_invariant", False),
        ("resonance:original", "symmetric", False),
    ],
)
def test_other_properties(kernel, property, fails):
    found = counterexample(kernel, property, search=("lattice", "random"), width=None if ":" in kernel else 1)
    assert (found is not None) == fails
    if fails:
        assert found.verified in ("exact", "interval")
        assert 0 < found.bounds[0] <= found.value <= found.bounds[1]
        assert "violated by" in str(found)


def test_the_triangle_inequality_of_the_original():
    """d({2}, {3}) = sqrt 2, though both are sqrt 0.33 from {2, 3}."""
    found = counterexample("resonance:original", "triangle")
    assert found.value == pytest.approx(ROOT - 2 * np.sqrt(0.33))


# kernels of one's own


def linear(a, b):
    return a @ b.T


def distance(a, b):
    return -((a[:, None] - b) ** 2).sum(axis=-1)


def in_floats(a, b):
    return -abs(np.asarray(a, float) @ np.asarray(b, float).T)


def one_sided(a, b):
    return a.sum(axis=-1)[:, None] + 0 * (a @ b.T)


def test_callables():
    assert counterexample(linear, "psd", search=("lattice", "random")) is None
    found = counterexample(distance, "psd")
    assert (found.kernel, found.verified, len(found.points)) == ("distance", "exact", 2)
    assert found.value == -2 * float(((found.points[0] - found.points[1]) ** 2).sum()) * abs(
        np.prod(found.coefficients)
    )
    floats = counterexample(in_floats, "psd")
    assert floats.verified == "float64"
    assert floats.bounds == (floats.value, floats.value)
    assert counterexample(linear, "symmetric", search="lattice") is None
    assert counterexample(one_sided, "symmetric").verified == "exact"
    assert counterexample(linear, "scale_invariant").value == 1


def test_numbers_become_simple():
    """Found at random, in Gaussians; left are small integers."""
    found = counterexample(distance, "psd", 5, search="random")
    assert (found.points == np.round(found.points)).all()
    assert abs(found.points).max() <= 2
    assert found.points.shape == (2, 1)


def test_same_seed_same_witness():
    first, second = (counterexample("resonance:original", "psd", 7, search="random") for _ in range(2))
    assert str(first) == str(second)


@pytest.mark.parametrize(
    ("arguments", "options", "says"),
    [
        (("resonance:original", "nice"), {}, "property is 'nice': one of 'psd'"),
        (("softmax", "psd"), {}, "is no mechanism"),
        (("position_only", "psd"), {}, "position_only has no kernel"),
        (("squared", "psd"), {"search": "oracle"}, "search is 'oracle'"),
        (("squared", "psd"), {"width": 0}, "width is 0"),
        (("resonance:original", "psd"), {"primes": 1.5}, r"primes is 1\.5"),
        ((lambda a, b: np.zeros(2), "psd"), {}, "the kernel gave shape"),
    ],
)
def test_what_cannot_be_searched_is_refused(arguments, options, says):
    with pytest.raises(ValueError, match=says):
        counterexample(*arguments, **options)


# sure numbers


def test_fractions_stay_fractions():
    x = Sure(Fraction(1, 3))
    assert (x + 1).value == Fraction(4, 3)
    assert (1 - x).value == Fraction(2, 3)
    assert (x * 0.5).value == Fraction(1, 6)  # a float is the fraction that it is
    assert (2 / x).value == 6
    assert (x**2).value == Fraction(1, 9)
    assert (Sure(4) ** 0.5).value == 2
    assert Sure(Fraction(9, 4)).sqrt().value == Fraction(3, 2)
    assert abs(-x).value == x.value
    assert all([x < 1, x > 0, x != 1, x == Fraction(1, 3), x >= Fraction(1, 3), x <= 0.5, x < np.inf, x > -np.inf])
    assert float(x) == 1 / 3
    assert [bool(x), bool(Sure(0))] == [True, False]
    assert np.exp(sure([0.0]))[0].value == 1


def test_intervals_hold_what_they_should():
    with mpmath.workdps(80):
        for name, x in (("exp", 0.7), ("log", 3.0), ("cos", 2.0), ("sin", 2.0), ("sqrt", 2.0)):
            found = getattr(Sure(x), name)()
            low, high = found.bounds
            exact = getattr(mpmath, name)(mpmath.mpf(x))
            assert low <= exact <= high
            assert high - low < mpmath.mpf(10) ** -48
            assert not found.exact
    with pytest.raises(Undecided):
        assert Sure(2).sqrt() * Sure(2).sqrt() > 2
    assert Sure(2).sqrt() < 1.4142135623730951455 < Sure(2.0000001).sqrt()


def test_references_of_mechanisms_compute_with_sure_numbers():
    x = np.array([[1.0, 2.0], [3.0, 1.0]])
    for name in ("dot_product", "expressive", "squared", "kuramoto"):
        which = MECHANISMS[name]
        sample = which.of_vectors(x)
        own = [sure(v) for v in sample.inputs]
        weights = which.reference(*own, **sample.options, return_weights=True)[1]
        assert is_sure(weights)
        expected = which.forward(*sample.inputs, **sample.options, return_weights=True)[1]
        np.testing.assert_allclose(weights.astype(float), expected, rtol=1e-14)


def test_sure_scores_are_the_scores():
    """Exact scores of small integer states against the library's."""
    rng = np.random.default_rng(0)
    for kind in ("original", "kernel"):
        space = States(kind, 3)
        points = []
        for _ in range(8):
            primes = sorted(rng.choice([2, 3, 5], rng.integers(1, 4), replace=False))
            points.append(
                tuple(
                    (int(p), tuple(map(int, rng.integers(1, 4, 2))), tuple(map(int, rng.integers(1, 4, 4))))
                    for p in primes
                )
            )
        exact = space.sure_table(points, balanced=True).astype(float)
        np.testing.assert_allclose(exact, pa.resonance.matrix(space.states(points), kind=kind), atol=1e-14)


def test_a_kernel_that_is_no_function_of_points_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="two tables for the same points"):
        counterexample(lambda a, b: rng.standard_normal((len(a), len(b))), "psd")
    with pytest.raises(ValueError, match="NaN or infinity for all pairs"):
        counterexample(lambda a, b: np.full((len(a), len(b)), np.nan), "psd")
    with pytest.raises(ValueError, match=r"search is \(\)"):
        counterexample("expressive", "psd", search=())


def test_a_kernel_may_write_over_its_points():
    def writes(a, b):
        table = a @ b.T - 3
        a[...] = b[...] = 7
        return table

    x = np.array([[1.0], [2.0]])
    assert pa.study.gram(writes, x).tolist() == [[-2.0, -1.0], [-1.0, 1.0]]
    assert x.tolist() == [[1.0], [2.0]]
    found, plain = (counterexample(kernel, "psd", width=1) for kernel in (writes, lambda a, b: a @ b.T - 3))
    assert found.says == plain.says
    assert found.value == plain.value
    assert found.verified == "exact"


def test_a_kernel_beyond_float64_is_refused():
    with pytest.raises(ValueError, match="the kernel of dot_product at points 0 and 0 is nan"):
        pa.study.gram("dot_product", np.full((2, 2), 1e200))
