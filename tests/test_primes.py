"""Primes against trial division, SymPy and published counts."""

import threading

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st

import primeattn as pa
from primeattn.primes import modular, sieve

from .naive import primes as naive

INT64 = 2**63 - 1
# odd composites that pass Miller-Rabin to every prime base up to the given one (OEIS A014233)
STRONG_PSEUDOPRIMES = {
    2: 2047,
    3: 1373653,
    5: 25326001,
    7: 3215031751,
    11: 2152302898747,
    13: 3474749660383,
    17: 341550071728321,
    23: 3825123056546413051,
}
CARMICHAEL = [561, 1105, 1729, 41041, 825265, 321197185, 9746347772161, 1436697831295441, 60977817398996785]


def rows(factors):
    return [
        list(zip(factors.primes[i:j].tolist(), factors.exponents[i:j].tolist(), strict=True))
        for i, j in zip(factors.indptr[:-1], factors.indptr[1:], strict=True)
    ]


# ---------------------------------------------------------------------------------------------- sieve


@pytest.mark.parametrize("limit", [*range(50), 168, 169, 170, 960, 961, 962, 1009, 5000])
def test_up_to_equals_trial_division(limit):
    assert pa.primes.up_to(limit).tolist() == naive.up_to(limit)


@pytest.mark.parametrize(("limit", "count"), [(10**5, 9592), (10**6, 78498), (10**7, 664579), (1 << 24, 1077871)])
def test_counts_are_the_published_ones(limit, count):
    """pi(10^k): OEIS A006880; pi(2^24): A007053."""
    assert len(pa.primes.up_to(limit)) == count


def test_a_long_sieve_that_is_not_kept():
    """pi(2 * 10^7) = 1270607 (OEIS A080123 at 2); its neighbourhood of the segments' seams against SymPy."""
    found = pa.primes.up_to(2 * 10**7)
    assert len(found) == 1270607
    assert (np.diff(found) > 0).all()
    seam = 30 * sieve.SEGMENT
    for edge in range(seam, 2 * 10**7, 3 * seam):
        near = found[(found > edge - 200) & (found < edge + 200)]
        assert near.tolist() == list(sympy.primerange(edge - 199, edge + 200))


def test_sieve_is_the_same_however_segments_are_shared():
    bitmap = sieve.bitmap_to(3_000_000)
    primes = sieve._primes_of_the_wheel(1800)
    again = np.zeros_like(bitmap)
    for s in reversed(range(-(-bitmap.size // sieve.SEGMENT))):
        sieve.cross_out_cpu(s, s + 1, primes, again)
    assert (bitmap == again).all()


def test_first_is_a_prefix_and_the_callers_own():
    for n in (0, 1, 2, 5, 6, 7, 25, 4096, 6542, 10_000):
        found = pa.primes.first(n)
        assert len(found) == n
        assert found.dtype == np.int64
    assert (pa.primes.first(10_000)[:100] == naive.up_to(541)).all()
    found = pa.primes.first(10)
    found[:] = 0
    assert pa.primes.first(10)[0] == 2


def test_the_bound_of_the_nth_prime_holds():
    primes = pa.primes.up_to(2_000_000)
    assert all(pa.primes._bound(n) >= primes[n - 1] for n in range(1, len(primes) + 1))


def test_threads_that_ask_at_once_agree():
    sieve._kept.cache_clear()
    results = [None] * 8
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        results[i] = pa.primes.first(5000 + i)[:5000].sum()

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert set(results) == {int(pa.primes.first(5000).sum())}


def test_kept_tables_cannot_be_written():
    table = sieve.table(1000)
    assert table is sieve.table(2000)
    assert not any(array.flags.writeable for array in table[1:])


# ---------------------------------------------------------------------------------------------- nth, index


def test_index_inverts_nth_and_nth_starts_at_zero():
    assert pa.primes.nth(0) == 2
    assert pa.primes.nth(999) == 7919
    assert type(pa.primes.nth(3)) is int
    assert type(pa.primes.index(7)) is int
    i = np.arange(100_000)
    p = pa.primes.nth(i)
    assert (pa.primes.index(p) == i).all()
    assert (p == pa.primes.first(100_000)).all()


def test_shapes_and_integer_types_go_through():
    p = np.array([[2, 3, 5], [7, 11, 13]])
    expected = np.arange(6).reshape(2, 3)
    frozen = p.copy()
    frozen.flags.writeable = False
    for x in (p, p.astype(">i4"), p.astype(np.uint64), p.astype(np.int8), p.astype(object), frozen, p.tolist()):
        assert (pa.primes.index(x) == expected).all()
        assert pa.primes.is_prime(x).shape == (2, 3)
    assert (pa.primes.index(p.T) == expected.T).all()
    assert (pa.primes.index(p[:, ::2]) == expected[:, ::2]).all()
    assert (pa.primes.nth(expected.T) == p.T).all()
    for empty in ([], np.zeros((0, 3), int)):
        assert pa.primes.index(empty).size == pa.primes.nth(empty).size == pa.primes.is_prime(empty).size == 0


def test_labelled_in_labelled_out():
    xarray = pytest.importorskip("xarray")
    x = xarray.DataArray([[2, 3], [5, 7]], dims=("state", "rank"), coords={"state": ["a", "b"]})
    assert pa.primes.is_prime(x + 2).equals(x.copy(data=[[False, True], [True, False]]))
    assert pa.primes.index(x).equals(x.copy(data=[[0, 1], [2, 3]]))
    assert pa.primes.nth(pa.primes.index(x)).equals(x)


def test_index_beyond_the_kept_table():
    p = sympy.prime(1_100_000)
    assert pa.primes.index(p) == 1_099_999
    assert pa.primes.nth(1_099_999) == p


# ---------------------------------------------------------------------------------------------- is_prime


def test_is_prime_by_table_equals_trial_division():
    x = np.arange(-10, 3000)
    assert pa.primes.is_prime(x).tolist() == [naive.is_prime(int(v)) for v in x]


def test_miller_rabin_alone_equals_trial_division():
    """With no table, as on CUDA: the smallest numbers are decided by trial division and by four bases."""
    x = np.arange(-10, 3000)
    out = np.empty(x.size, bool)
    modular.IS_PRIME(x.size, x, np.zeros(1, np.uint8), 0, out)
    assert out.tolist() == [naive.is_prime(int(v)) for v in x]


def test_table_and_miller_rabin_agree_where_they_meet():
    x = (1 << sieve.CACHED_BITS) + np.arange(-2000, 2000)
    assert pa.primes.is_prime(x).tolist() == [sympy.isprime(int(v)) for v in x]


@pytest.mark.parametrize(("base", "n"), STRONG_PSEUDOPRIMES.items())
def test_strong_pseudoprimes_are_composite(base, n):
    assert all(naive.strong_pseudoprime(n, b) for b in sympy.primerange(base + 1))  # so the test is alive
    assert not pa.primes.is_prime(n)


def test_carmichael_numbers_are_composite():
    assert all(pow(2, n - 1, n) == 1 for n in CARMICHAEL)  # Fermat's test is fooled
    assert not pa.primes.is_prime(CARMICHAEL).any()


def test_the_ends_of_int64():
    x = np.arange(INT64 - 300, INT64, dtype=np.int64)
    x = np.append(x, [INT64, -INT64 - 1, 2**61 - 1, 2**31 - 1, (2**31 - 1) ** 2])
    assert pa.primes.is_prime(x).tolist() == [sympy.isprime(int(v)) for v in x]


def test_beyond_int64_sympy_decides():
    assert pa.primes.is_prime([2**89 - 1, 2**89 + 1, 7]).tolist() == [True, False, True]
    assert pa.primes.is_prime(2**127 - 1) is True
    assert pa.primes.is_prime(np.array([2**64 - 59, 2**64 - 1], np.uint64)).tolist() == [True, False]
    assert pa.primes.is_prime([2**63, -1]).tolist() == [False, False]  # NumPy would make floats of this list


@settings(max_examples=300, deadline=None)
@given(st.integers(0, INT64))
def test_is_prime_equals_sympy(x):
    assert pa.primes.is_prime(x) == sympy.isprime(x)


# ---------------------------------------------------------------------------------------------- factorize


def test_factorize_equals_trial_division():
    n = np.arange(1, 3000)
    assert rows(pa.primes.factorize(n)) == [naive.factorize(int(v)) for v in n]


def test_hard_and_extreme_factorisations():
    p, q = 3037000493, 3037000453  # the primes just below the root of 2^63
    cases = [1, 2, 2**62, INT64, p * q, p * p, 2**61 - 1, 1009**6, 1009 * 1013, 1009 * 1009, 997 * 1009, 2097143**3]
    cases += [614889782588491410, 1013 * 1019 * 1021 * 1031 * 1033 * 1039, 4 * 1009 * 1009 * 1013, *CARMICHAEL]
    cases += STRONG_PSEUDOPRIMES.values()
    assert rows(pa.primes.factorize(cases)) == [sorted(sympy.factorint(n).items()) for n in cases]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, INT64), max_size=5))
def test_factorisation_round_trip(numbers):
    factors = pa.primes.factorize(numbers)
    assert factors.indptr[0] == 0
    for n, row in zip(numbers, rows(factors), strict=True):
        product = 1
        for p, e in row:
            product *= p**e
        assert product == n
        assert all(e > 0 for _, e in row)
        assert [p for p, _ in row] == sorted({p for p, _ in row})
    assert pa.primes.is_prime(factors.primes).all()


def test_factorize_across_blocks_and_beyond_int64(monkeypatch):
    monkeypatch.setattr(pa.primes, "_BLOCK", 7)
    n = np.arange(1, 40)
    assert rows(pa.primes.factorize(n)) == [naive.factorize(int(v)) for v in n]
    big = pa.primes.factorize([2**70, 6])
    assert rows(big) == [[(2, 70)], [(2, 1), (3, 1)]]
    assert big.primes.dtype == np.int64
    assert pa.primes.factorize(2**89 - 1).primes.tolist() == [2**89 - 1]
    empty = pa.primes.factorize([])
    assert empty.indptr.tolist() == [0]
    assert empty.primes.size == 0
    assert pa.primes.factorize(12).primes.tolist() == [2, 3]


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: pa.primes.up_to(-1), ValueError, "limit is -1"),
        (lambda: pa.primes.up_to(100.0), TypeError, "integers are wanted; write 100"),
        (lambda: pa.primes.up_to(float("nan")), TypeError, "nan"),
        (lambda: pa.primes.up_to(10**12), ValueError, "about 300 GB"),
        (lambda: pa.primes.up_to(10**30), ValueError, "would take about"),
        (lambda: pa.primes.up_to([1, 2]), TypeError, r"limit has shape \(2,\)"),
        (lambda: pa.primes.first(-3), ValueError, "n is -3"),
        (lambda: pa.primes.first(10**10), ValueError, "80 GB"),
        (lambda: pa.primes.first(True), TypeError, "bool"),
        (lambda: pa.primes.nth([3, -1]), ValueError, r"i\[1\] is -1: indices start at 0"),
        (lambda: pa.primes.nth(203_280_221), ValueError, "largest index is 203280220"),
        (lambda: pa.primes.nth(np.array([1.5])), TypeError, "astype"),
        (lambda: pa.primes.index([7, 12]), ValueError, r"p holds 12 = 2\^2 \* 3, which is not prime"),
        (lambda: pa.primes.index(1), ValueError, "p holds 1, which is not prime"),
        (lambda: pa.primes.index(-7), ValueError, "p holds -7"),
        (lambda: pa.primes.index(2**61 - 1), ValueError, "re-index your primes"),
        (lambda: pa.primes.is_prime("7"), TypeError, "integers are wanted"),
        (lambda: pa.primes.is_prime(None), TypeError, "None"),
        (lambda: pa.primes.is_prime([[1, 2], [3]]), ValueError, "ragged"),
        (lambda: pa.primes.is_prime([2**70, 1.5]), TypeError, "holds 1.5"),
        (lambda: pa.primes.factorize([3, 0]), ValueError, r"n\[1\] is 0"),
        (lambda: pa.primes.factorize(-(2**70)), ValueError, "from 1 on"),
        (lambda: pa.primes.factorize([[1, 2]]), ValueError, r"shape \(1, 2\)"),
    ],
)
def test_refusals_say_what_came_and_what_is_wanted(call, error, message):
    with pytest.raises(error, match=message):
        call()


# ---------------------------------------------------------------------------------------------- CUDA twin


@pytest.mark.cudasim
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # the simulator's uint64 are NumPy's, which warn
def test_is_prime_on_cuda_equals_the_table():
    x = np.array([[-7, 0, 1, 2, 4], [37, 41, 1681, 2047, 2**31 - 1], [3215031751, 2**61 - 1, INT64, 561, 1763]])
    found = pa.to_host(pa.primes.is_prime(pa.to_device(x)))
    assert found.dtype == bool
    assert found.tolist() == [[sympy.isprime(int(v)) for v in row] for row in x]


@pytest.mark.cudasim
def test_other_types_on_cuda_are_refused():
    with pytest.raises(TypeError, match="int64 is wanted"):
        pa.primes.is_prime(pa.to_device(np.ones(3)))
    with pytest.raises(TypeError, match="only is_prime runs there"):
        pa.primes.index(pa.to_device(np.array([2, 3])))


def test_integers_of_other_libraries():
    sympy = pytest.importorskip("sympy")
    assert pa.primes.is_prime(sympy.Integer(7)) is True
    assert pa.primes.nth([sympy.Integer(3), 0]).tolist() == [7, 2]


@pytest.mark.parametrize("digits", [400, 5000])  # past the range of floats, and past what Python prints
def test_enormous_integers_are_refused_in_words(digits):
    for call in (pa.primes.first, pa.primes.up_to, pa.primes.nth):
        with pytest.raises(ValueError, match=r"is an integer of \d+ bits"):
            call(10**digits)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match=r"i is a masked array.*i\.filled"):
        pa.primes.nth(np.ma.masked_equal([1, 2], 2))
