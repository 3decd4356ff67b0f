"""Normalisation, entropy, sparsity, composition and prefix scans of prime states."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from primeattn import PrimeStates
from primeattn._runtime import devices
from primeattn.states import _compose, _energy, _scan
from tests.naive import states as naive

GOLDEN = json.loads((Path(__file__).parent / "golden" / "compose.json").read_text())

# One product of k numbers is a few roundings each; sums run over at most 64 terms here. Prefix products run over at
# most 64 factors, each of which may turn the result by one rounding: 64 * 4 eps.
TOLERANCE = {"float64": 1e-13, "float32": 5e-5}
FLOATS = ["float64", "float32"]


def to_golden(rows):
    return PrimeStates.from_dicts([{int(p): (complex(re, im), tuple(q)) for p, re, im, *q in rows}])


def assert_states(actual, wanted, tolerance):
    """``actual`` PrimeStates against a list of oracle dicts."""
    assert len(actual) == len(wanted)
    for t, (got, want) in enumerate(zip(actual.to_dicts(), wanted, strict=True)):
        assert list(got) == sorted(want), f"state {t}"
        for p in want:
            assert abs(got[p][0] - want[p][0]) <= tolerance, f"state {t}, prime {p}"
            assert np.abs(np.subtract(got[p][1], want[p][1])).max() <= tolerance, f"state {t}, prime {p}"


@st.composite
def states(draw, size):
    """``size`` random states on few primes, so that they overlap; some are empty, some amplitudes zero."""
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    s = PrimeStates.random(size, rng.integers(0, 7, size), n_primes=8, rng=rng)
    amplitude = s.amplitude * 10.0 ** rng.uniform(-3, 3, s.nnz)
    amplitude[rng.random(s.nnz) < draw(st.sampled_from([0, 0.2]))] = 0
    return PrimeStates(s.indptr, s.primes, amplitude, s.orientation)


# Each state alone


@pytest.mark.parametrize("dtype", FLOATS)
def test_each_state_alone_equals_the_loops(rng, dtype):
    s = PrimeStates.random(33, rng.integers(0, 20, 33), n_primes=40, rng=rng, dtype=dtype)
    scaled = PrimeStates(s.indptr, s.primes, s.amplitude * np.float32(7.5), s.orientation)
    loops = scaled.to_dicts()
    tolerance = TOLERANCE[dtype]
    assert scaled.normalize().dtype == dtype
    assert_states(scaled.normalize(), [naive.normalize(x) for x in loops], tolerance)
    np.testing.assert_allclose(scaled.entropy(), [naive.entropy(x) for x in loops], rtol=0, atol=10 * tolerance)
    for options in ({"k": 3}, {"k": 1}, {"k": 100}, {"energy": 0.5}, {"energy": 0.95}, {"energy": 1.0}):
        assert_states(scaled.sparsify(**options), [naive.sparsify(x, **options) for x in loops], 0)


@pytest.mark.parametrize("case", range(len(GOLDEN["states"])))
def test_entropy_and_normalisation_of_the_original(case):
    golden = GOLDEN["states"][case]
    s = to_golden(golden["state"])
    assert abs(s.entropy()[0] - golden["entropy_bits"]) <= 1e-12
    np.testing.assert_allclose(s.normalize().amplitude, to_golden(golden["normalized"]).amplitude, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("dtype", "sizes"), [("float32", (1e-45, 1e-30, 1e38)), ("float64", (5e-324, 1e-200, 1e308))])
def test_extreme_amplitudes_neither_overflow_nor_vanish(dtype, sizes):
    for size in sizes:
        amplitude = np.full(300, size, dtype) * (1 + 0j)  # 300 squares of 1e38 overflow without scaling
        s = PrimeStates.random(1, 300, n_primes=300, dtype=dtype)
        s = PrimeStates(s.indptr, s.primes, amplitude.astype(s.amplitude.dtype), s.orientation)
        np.testing.assert_allclose(s.normalize().amplitude, 300**-0.5, rtol=1e-6)
        np.testing.assert_allclose(s.entropy(), np.log2(300), rtol=1e-6)


def test_compensated_sum_in_float32():
    # 2**25 ones: a plain float32 sum stops at 2**24 and would give amplitudes 2**-12
    n = 1 << 25
    indptr, amplitude = np.array([0, n]), np.ones(n, np.complex64)
    assert _energy.normalized(indptr, amplitude)[0] == np.float32(2**-12.5)


def test_states_without_energy_stay():
    s = PrimeStates([0, 0, 2, 2], [2, 3], [0, 0])
    assert s.normalize() == s
    np.testing.assert_array_equal(s.entropy(), [0, 0, 0])
    assert s.sparsify(energy=0.5).nnz == 0  # zeros are never kept
    empty = PrimeStates.empty(3, dtype="float32")
    assert empty.normalize() == empty == empty.sparsify(k=2) == empty.cumcompose(mode="full")
    assert empty.entropy().dtype == np.float32


def test_sparsify_refuses_bad_options():
    s = PrimeStates.random(2, 3)
    with pytest.raises(TypeError, match=r"pass k=16, or energy=0\.95"):
        s.sparsify()
    for options in ({"k": 0}, {"energy": 0.0}, {"energy": 1.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            s.sparsify(**options)


# Composition


@pytest.mark.parametrize("case", GOLDEN["compose"], ids=lambda c: c["name"])
def test_composition_of_the_original(case):
    a, b = to_golden(case["a"]), to_golden(case["b"])
    for left, right, name in ((a, b, "ab"), (b, a, "ba")):
        ours, theirs = left.compose(right, mode="original"), to_golden(case[name])
        np.testing.assert_array_equal(ours.primes, theirs.primes)
        np.testing.assert_allclose(ours.amplitude, theirs.amplitude, rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.orientation, theirs.orientation, rtol=0, atol=1e-12)
    assert abs(a.noncommutativity(b)[0] - case["noncommutativity"]) <= 1e-12


def test_noncommutativity_of_the_original():
    values = []
    for case in GOLDEN["noncommutativity"]:
        value = to_golden(case["a"]).noncommutativity(to_golden(case["b"]))[0]
        assert abs(value - case["noncommutativity"]) <= 1e-12, case["name"]
        values.append(value)
    assert len({round(v, 6) for v in values}) > 2  # the reference is not constant


@pytest.mark.parametrize("dtype", FLOATS)
def test_composition_equals_the_loops(rng, dtype):
    a = PrimeStates.random(65, rng.integers(0, 9, 65), n_primes=12, rng=rng, dtype=dtype)
    b = PrimeStates.random(65, rng.integers(0, 9, 65), n_primes=12, rng=rng, dtype=dtype)
    pairs = list(zip(a.to_dicts(), b.to_dicts(), strict=True))
    tolerance = TOLERANCE[dtype]
    assert a.compose(b).dtype == dtype
    assert_states(a.compose(b), [naive.compose(x, y) for x, y in pairs], tolerance)
    assert_states(a.compose(b, mode="original"), [naive.compose_original(x, y) for x, y in pairs], tolerance)
    wanted = [naive.noncommutativity(x, y) for x, y in pairs]
    np.testing.assert_allclose(a.noncommutativity(b), wanted, rtol=0, atol=tolerance)


def test_one_state_meets_many(rng):
    a, b = PrimeStates.random(1, 5, n_primes=9, rng=rng), PrimeStates.random(7, 5, n_primes=9, rng=rng)
    b = b.with_labels(list("abcdefg"))
    repeated = a[[0] * 7]
    assert a.compose(b) == repeated.compose(b)
    assert b.compose(a) == b.compose(repeated)
    np.testing.assert_array_equal(a.noncommutativity(b), repeated.noncommutativity(b))
    assert a.compose(b).labels.tolist() == b.compose(a).labels.tolist() == list("abcdefg")
    assert len(a.compose(b[:0])) == 0


def test_mixed_precision_promotes(rng):
    a = PrimeStates.random(3, 4, n_primes=6, rng=rng)
    assert a.compose(a.astype("float32")).dtype == np.float64
    assert a.astype("float32").noncommutativity(a).dtype == np.float64


def test_composition_refuses(rng):
    a, b = PrimeStates.random(3, 2), PrimeStates.random(2, 2)
    with pytest.raises(ValueError, match=r"3 states meet 2.*states\[:2\]"):
        a.compose(b)
    with pytest.raises(ValueError, match="3 states meet 2"):
        a.noncommutativity(b)
    with pytest.raises(ValueError, match="'identity' or 'original'"):
        a.compose(a, mode="Identity")
    with pytest.raises(TypeError, match=r"other is a list.*from_dicts"):
        a.compose([{2: 1}])
    with pytest.raises(ValueError, match="'rotor', 'own' or 'full'"):
        a.cumcompose(mode="all")
    huge = PrimeStates([0, 1], [2], np.array([1e30], np.complex64))
    with pytest.raises(ValueError, match=r"overflows float32.*normalize\(\)"):
        huge.compose(huge)
    assert np.isfinite(huge.astype("float64").compose(huge).amplitude).all()


@settings(max_examples=40, deadline=None)
@given(states(3), states(3), states(3))
def test_composition_is_associative_with_the_empty_state_as_identity(a, b, c):
    left, right = a.compose(b).compose(c), a.compose(b.compose(c))
    np.testing.assert_array_equal(left.primes, right.primes)
    np.testing.assert_allclose(left.amplitude, right.amplitude, rtol=1e-14)  # two complex products each
    np.testing.assert_allclose(left.orientation, right.orientation, rtol=0, atol=3e-15)
    nothing = PrimeStates.empty(1)
    assert a.compose(nothing) == a == nothing.compose(a)  # exactly


def test_the_original_has_no_identity_and_brackets_matter_on_dead_primes():
    i, j = (0, 1, 0, 0), (0, 0, 1, 0)
    a, b, c = (PrimeStates.from_dicts([x]) for x in ({2: 1, 3: (1, i)}, {2: 2}, {2: 1, 3: (1, j)}))
    assert (a.compose(PrimeStates.empty(1), mode="original").amplitude == 0).all()
    left = a.compose(b, mode="original").compose(c, mode="original")
    right = a.compose(b.compose(c, mode="original"), mode="original")
    np.testing.assert_array_equal(left.amplitude, right.amplitude)
    assert left.to_dicts()[0][3] == (0, j)
    assert right.to_dicts()[0][3] == (0, i)


def test_normalising_at_each_step_is_not_associative():
    a, c = PrimeStates.from_dicts([{2: 1, 3: 1}]), PrimeStates.from_dicts([{5: 1}])
    left = a.compose(a).normalize().compose(c).normalize()
    right = a.compose(a.compose(c).normalize()).normalize()
    np.testing.assert_allclose(left.amplitude, [0.5, 0.5, 0.5**0.5], rtol=1e-15)
    np.testing.assert_allclose(right.amplitude, [3**-0.5] * 3, rtol=1e-15)


def test_orthogonal_quaternions_may_commute():
    basis = PrimeStates.from_dicts([{2: (1, q)} for q in np.eye(4)])  # 1, i, j, k
    table = np.array([basis[i].noncommutativity(basis) for i in range(4)])
    np.testing.assert_array_equal(table, 2 * np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0]]))


# Prefix scans


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("mode", ["rotor", "own", "full"])
@pytest.mark.parametrize("n", [1, 2, 5, 33])
def test_scans_equal_sequential_composition(rng, dtype, mode, n):
    s = PrimeStates.random(n, rng.integers(0, 6, n), n_primes=9, rng=rng, dtype=dtype)
    s = PrimeStates(s.indptr, s.primes, s.amplitude * np.float32(3), s.orientation, labels=np.arange(n))
    out = s.cumcompose(mode=mode)
    assert_states(out, naive.cumcompose(s.to_dicts(), mode), TOLERANCE[dtype])
    assert out.dtype == dtype
    assert out.labels.tolist() == list(range(n))
    if mode == "rotor":
        np.testing.assert_array_equal(out.amplitude, s.amplitude)
    else:
        energy = [sum(abs(a) ** 2 for a, _ in x.values()) for x in out.to_dicts() if x]
        np.testing.assert_allclose(energy, 1, rtol=1e-5 if dtype == "float32" else 1e-14)


@settings(max_examples=25, deadline=None)
@given(states(9), st.integers(1, 8))
def test_scans_are_associative(s, cut):
    """Scanning a sequence is scanning its tail and composing with the product of its head."""
    head, tail = s[:cut], s[cut:]
    product = head[0]
    for t in range(1, len(head)):
        product = product.compose(head[t])
    full = s.cumcompose(mode="full")
    running = product
    for t in range(len(tail)):
        running = running.compose(tail[t])
        got, want = full[cut + t], running.normalize()
        np.testing.assert_array_equal(got.primes, want.primes)
        np.testing.assert_allclose(got.amplitude, want.amplitude, rtol=0, atol=1e-14)
        np.testing.assert_allclose(got.orientation, want.orientation, rtol=0, atol=1e-14)


@settings(max_examples=25, deadline=None)
@given(states(9))
def test_own_is_full_read_on_the_tokens_own_primes(s):
    own, full = s.cumcompose(mode="own"), s.cumcompose(mode="full")
    for t in range(len(s)):
        kept = np.isin(full[t].primes, s[t].primes)
        np.testing.assert_allclose(own[t].orientation, full[t].orientation[kept], rtol=0, atol=0)
        part = PrimeStates([0, kept.sum()], full[t].primes[kept], full[t].amplitude[kept]).normalize().amplitude
        # reading after normalising loses what the other primes outweigh by 1e300; amplitudes here span 1e54 at most
        np.testing.assert_allclose(own[t].amplitude, part, rtol=0, atol=1e-13)


def test_rotor_is_a_relative_position(rng):
    """What is put before two tokens does not change their alignment; what is put between them does."""
    s = PrimeStates.random(6, 3, n_primes=4, rng=rng)
    prefix, between = PrimeStates.random(2, 3, n_primes=4, rng=rng)

    def aligned(sequence, i, j):
        turned = sequence.cumcompose(mode="rotor")
        a, b = (dict(zip(turned[t].primes.tolist(), turned[t].orientation, strict=True)) for t in (i, j))
        return np.array([a[p] @ b[p] for p in sorted(set(a) & set(b))])

    plain = aligned(s, 1, 4)
    shifted = aligned(PrimeStates.concatenate([prefix, s]), 2, 5)
    parted = aligned(PrimeStates.concatenate([s[:3], between, s[3:]]), 1, 5)
    assert plain.size
    np.testing.assert_allclose(shifted, plain, rtol=0, atol=1e-14)
    assert np.abs(parted - plain).max() > 1e-3


def test_order_of_two_markers_is_visible_only_after_composition(rng):
    """The same bag of tokens in another order gives other last states; without composition the bag is all there is."""
    markers = PrimeStates.from_dicts([{2: (1, (0, 1, 0, 0))}, {2: (1, (0, 0, 1, 0))}])
    one, other = markers.cumcompose(mode="own"), markers[::-1].cumcompose(mode="own")
    np.testing.assert_array_equal(one[1].orientation, -other[1].orientation)  # i j = -j i


@pytest.mark.parametrize("dtype", FLOATS)
def test_long_products_do_not_underflow(dtype):
    n = 3000  # 0.1**3000 and 10**3000 are far outside float64
    values = np.where(np.arange(2 * n) % 2 == 0, 0.1, 0.1 * np.exp(1e-3j)).astype(np.result_type(dtype, np.complex64))
    s = PrimeStates(np.arange(n + 1) * 2, np.tile([2, 3], n), values, np.tile(np.eye(4, dtype=dtype)[0], (2 * n, 1)))
    for sign in (1, -1):
        t = s if sign == 1 else PrimeStates(s.indptr, s.primes, 1 / s.amplitude, s.orientation)
        for mode in ("own", "full"):
            last = t.cumcompose(mode=mode)[n - 1].amplitude
            # the two magnitudes are equal up to n roundings, and one phase is 3 rad further
            tolerance = {"float64": 1e-12, "float32": 5e-4}[dtype]
            np.testing.assert_allclose(np.abs(last), 0.5**0.5, rtol=tolerance)
            assert abs(np.angle(last[1] / last[0]) - sign * 3) < tolerance


@pytest.mark.parametrize("dtype", FLOATS)
def test_by_tokens_and_by_primes_are_the_same_bits(rng, dtype):
    """The fast kernel, in any number of lanes, against the plain one."""
    s = PrimeStates.random(200, 6, n_primes=40, rng=rng, dtype=dtype, distribution="zipf")
    table, columns = _scan.columns_of(s)
    inputs = (_energy.flat(s.amplitude), s.orientation.reshape(-1))

    def blank_outputs():
        products = (np.empty(2 * len(table), dtype), np.empty(len(table), np.int64), np.empty(4 * len(table), dtype))
        return products, np.empty(2 * s.nnz, dtype), np.empty(s.nnz, np.int64), np.empty(4 * s.nnz, dtype)

    plain = blank_outputs()
    _scan.PRIME(len(table), *_scan.grouped(s, table, columns), *inputs, *plain)
    for lanes in (1, 4):
        fast = blank_outputs()
        for lane in range(lanes):
            _scan.stream_cpu(lane, lane + 1, lanes, columns, *inputs, *fast)
        for got, want in zip(fast[1:], plain[1:], strict=True):
            np.testing.assert_array_equal(got, want)


def test_a_zero_amplitude_ends_its_prime():
    s = PrimeStates.from_dicts([{2: 0, 3: 1}, {2: 5, 3: 1}, {2: 1}])
    own = s.cumcompose(mode="own")
    np.testing.assert_array_equal(own.amplitude, [0, 1, 0, 1, 0])


def test_full_says_how_large_it_would_be():
    s = PrimeStates.random(100, 10, n_primes=1000)
    size = s.cumcompose(mode="full")
    with pytest.raises(MemoryError, match=rf"{size.nnz} entries.*mode='own'.*max_bytes=\d+"):
        s.cumcompose(mode="full", max_bytes=1 << 16)


# Both devices


def on(device, x):
    """A copy of an array, or of a tuple of them, on one device."""
    if isinstance(x, tuple):
        return tuple(on(device, part) for part in x)
    return device(np.array(x)) if isinstance(x, np.ndarray) else x


def both_devices(owner, n, *arguments, outputs):
    """Run an owner on the host and on CUDA, compare what it wrote, return the host's. Outputs come last."""
    host, device = on(np.array, arguments), on(devices.to_device, arguments)
    owner.cpu(0, n, *host)
    owner(n, *device)
    for got, want in zip(device[-outputs:], host[-outputs:], strict=True):
        # the same operations in the same order; only fused multiply-adds differ
        tolerance = 1e-12 if want.dtype != np.float32 else 1e-5
        np.testing.assert_allclose(devices.to_host(got), want, rtol=0, atol=tolerance)
        assert np.ptp(want) > 0  # something was written
    return host[-outputs:]


def random_arrays(rng, counts, dtype):
    indptr = np.concatenate([[0], np.cumsum(counts)])
    primes = np.concatenate([np.sort(rng.choice([2, 3, 5, 7], c, replace=False)) for c in counts])
    q = rng.standard_normal((indptr[-1], 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    return indptr, primes, rng.standard_normal(2 * indptr[-1]).astype(dtype), q.astype(dtype).ravel()


def blank(size, dtype):
    return np.zeros(size, np.int64), np.zeros(2 * size, dtype), np.zeros(4 * size, dtype)


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_twins_of_what_states_do_alone_and_in_pairs(rng, dtype):
    n = 5
    a, ap, aa, aq = random_arrays(rng, [3, 0, 2, 4, 1], dtype)
    b, bp, ba, bq = random_arrays(rng, [2, 3, 0, 4, 2], dtype)
    both_devices(_energy.NORMALIZE, n, a, aa, np.zeros_like(aa), outputs=1)
    both_devices(_energy.ENTROPY, n, a, aa, np.zeros(n, dtype), outputs=1)
    (counts,) = both_devices(_compose.COUNT, n, (1, a, ap), (1, b, bp), np.zeros(n, np.int64), outputs=1)
    union = np.concatenate([[0], np.cumsum(counts)])
    for original in (0, 1):
        left, right = (1, a, ap, aa, aq), (1, b, bp, ba, bq)
        both_devices(_compose.COMPOSE, n, original, left, right, union, *blank(union[-1], dtype), outputs=3)
    for step in (0, 1):
        out = np.zeros(n, dtype)
        both_devices(_compose.NONCOMMUTATIVITY, n, (1, a, ap, aq), (step, b, bp, bq), out, outputs=1)


@pytest.mark.cudasim
@pytest.mark.parametrize("dtype", FLOATS)
def test_cuda_twins_of_the_scans(rng, dtype):
    n = 5
    a, ap, aa, aq = random_arrays(rng, [3, 0, 2, 4, 1], dtype)
    nnz = len(ap)
    (turns,) = both_devices(_scan.ROTOR, n, a, aq, np.zeros(4 * n, dtype), outputs=1)
    both_devices(_scan.TURN, n, a, turns, aq, np.zeros_like(aq), outputs=1)
    entries, table = np.argsort(ap, kind="stable"), np.unique(ap)
    group = np.searchsorted(ap[entries], np.append(table, 99))
    products = (np.zeros(2 * len(table), dtype), np.zeros(len(table), np.int64), np.zeros(4 * len(table), dtype))
    running = (np.zeros_like(aa), np.zeros(nnz, np.int64), np.zeros_like(aq))
    own = both_devices(_scan.PRIME, len(table), group, entries, aa, aq, products, *running, outputs=3)
    both_devices(_scan.ALIGN, n, a, own[1], own[0], outputs=1)
    first = np.searchsorted(a, entries[group[:-1]], side="right") - 1
    grown = np.concatenate([[0], np.cumsum(np.cumsum(np.bincount(first, minlength=n)))])
    primes, mantissa, orientation = blank(grown[-1], dtype)
    outputs = (primes, mantissa, np.zeros(grown[-1], np.int64), orientation)
    both_devices(_scan.UNION, n, a, (table, group, entries), tuple(own), grown, *outputs, outputs=4)
