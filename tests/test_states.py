"""The container: what is accepted, what is refused and how, parts, copies, other forms."""

import copy
import pickle
import re

import numpy as np
import pytest

from primeattn import PrimeStates, primes
from primeattn._runtime import devices
from primeattn.states import _construct

IDENTITY = (1.0, 0.0, 0.0, 0.0)


@pytest.fixture
def batch(rng):
    return PrimeStates.random(7, [3, 0, 5, 1, 0, 4, 2], n_primes=30, rng=rng).with_labels(list("abcdefg"))


# Construction


def test_arrays_are_kept_and_cannot_be_written_to():
    indptr, p = np.array([0, 2, 2, 3]), np.array([2, 7, 5])
    a, q = np.array([1, 2j, 3]), np.array([[1.0, 0, 0, 0], [0, 3, 4, 0], [0, 0, 0, -2]])
    s = PrimeStates.from_arrays(indptr, p, a, q)
    indptr[:], p[:], a[:], q[:] = 0, 0, 0, 0  # the caller's arrays stay the caller's
    np.testing.assert_array_equal(s.indptr, [0, 2, 2, 3])
    np.testing.assert_array_equal(s.primes, [2, 7, 5])
    np.testing.assert_array_equal(s.amplitude, [1, 2j, 3])
    np.testing.assert_allclose(s.orientation, [IDENTITY, (0, 0.6, 0.8, 0), (0, 0, 0, -1)], rtol=0, atol=2e-16)
    for name in ("indptr", "primes", "amplitude", "orientation"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(s, name)[0] = 1
        with pytest.raises(AttributeError, match="immutable"):
            setattr(s, name, None)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(s, name)
    with pytest.raises(AttributeError):
        s.other = 1


def test_a_read_only_view_of_a_writable_array_is_copied():
    p = np.array([2, 3])
    view = p[:]
    view.flags.writeable = False
    s = PrimeStates([0, 2], view)
    p[0] = 4
    assert s.primes[0] == 2
    again = PrimeStates(s.indptr, s.primes, s.amplitude, s.orientation)
    assert np.shares_memory(again.primes, s.primes)  # nobody can write to these


def test_defaults_and_dicts():
    s = PrimeStates([0, 1], [2])
    assert s == PrimeStates.from_dicts([{2: 1}]) == PrimeStates.from_dicts([{np.int32(2): (1, IDENTITY)}])
    assert s.to_dicts() == [{2: (1 + 0j, IDENTITY)}]
    assert PrimeStates.from_dicts([]) == PrimeStates([0], []) == PrimeStates.empty()
    assert PrimeStates.from_dicts([{}, {}]) == PrimeStates.empty(2)


@pytest.mark.parametrize(
    ("amplitude", "orientation", "dtype"),
    [
        (np.complex64, np.float32, "float32"),
        (np.float32, np.float32, "float32"),
        (np.float16, np.float16, "float32"),
        (np.complex64, None, "float32"),
        (None, np.float32, "float32"),
        (None, None, "float64"),
        (np.complex128, np.float32, "float64"),
        (np.complex64, np.float64, "float64"),
        (np.int64, np.float32, "float64"),
        (np.int8, np.uint8, "float64"),
        (bool, bool, "float64"),
    ],
)
def test_precision(amplitude, orientation, dtype):
    a = None if amplitude is None else np.ones(2, amplitude)
    q = None if orientation is None else np.tile(np.array(IDENTITY, orientation), (2, 1))
    s = PrimeStates([0, 2], [2, 3], a, q)
    assert s.dtype == dtype == s.orientation.dtype
    assert s.amplitude.dtype == {"float32": "complex64", "float64": "complex128"}[dtype]


def test_awkward_layouts_are_the_same_states(batch):
    indptr, p, a, q = batch.indptr, batch.primes, batch.amplitude, batch.orientation
    variants = {
        "big-endian": (indptr.astype(">i8"), p.astype(">i4"), a.astype(">c16"), q.astype(">f8")),
        "narrow": (indptr.astype(np.uint8), p.astype(np.uint16), a, q),
        "strided": (np.repeat(indptr, 2)[::2], np.repeat(p, 3)[::3], np.repeat(a, 2)[::2], np.asfortranarray(q)),
        "lists": (indptr.tolist(), p.tolist(), a.tolist(), q.tolist()),
        "objects that lend memory": (memoryview(indptr.copy()), p, a, q),
    }
    for name, arrays in variants.items():
        s = PrimeStates(*arrays)
        assert s == batch, name
        assert all(x.flags.c_contiguous and x.dtype.isnative for x in (s.indptr, s.primes, s.amplitude, s.orientation))


def test_unsorted_primes_are_sorted_within_states(batch, rng):
    order = np.concatenate(
        [rng.permutation(np.arange(i, j)) for i, j in zip(batch.indptr, batch.indptr[1:], strict=False)]
    )
    s = PrimeStates(batch.indptr, batch.primes[order], batch.amplitude[order], batch.orientation[order])
    assert s == batch
    large = 2**61 - 1  # a Mersenne prime: the sorting key of state and prime does not fit int64 here
    wide = PrimeStates([0, 0, 0, 0, 0, 2], [large, 3], [1, 2])
    np.testing.assert_array_equal(wide.primes, [3, large])
    np.testing.assert_array_equal(wide.amplitude, [2, 1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_orientations_of_any_size_become_units_and_stay(rng, dtype):
    limits = np.finfo(dtype)
    q = rng.standard_normal((2000, 4)).astype(dtype) + dtype(0.01)
    scale = np.repeat(np.array([1, limits.max / 8, limits.tiny * 8, limits.smallest_subnormal * 64], dtype), 500)
    s = PrimeStates([0, 2000], primes.first(2000), None, q * scale[:, None])
    np.testing.assert_allclose(np.linalg.norm(s.orientation.astype(float), axis=1), 1, rtol=0, atol=4 * limits.eps)
    cosine = np.einsum("ij,ij->i", s.orientation[:1500], q[:1500]) / np.linalg.norm(q[:1500], axis=1)
    np.testing.assert_allclose(cosine, 1, rtol=0, atol=8 * limits.eps)
    again = PrimeStates(s.indptr, s.primes, s.amplitude, s.orientation)
    np.testing.assert_array_equal(again.orientation, s.orientation)  # bit for bit


# Refusals

Q = np.tile(IDENTITY, (3, 1))
REFUSED = {
    "composite": ([0, 1, 3], [2, 3, 9], None, None, ValueError, "state 1, entry 1: 9 is composite (3 divides it)"),
    "composite without a small divisor": ([0, 1], [289], None, None, ValueError, "entry 0: 289 is composite; only"),
    "one": ([0, 0, 1], [1], None, None, ValueError, "state 1, entry 0: 1 is not a prime; the smallest is 2"),
    "negative": ([0, 2], [3, -3], None, None, ValueError, "state 0, entry 1: -3 is not a prime"),
    "zero": ([0, 1], [0], None, None, ValueError, "primes themselves, not positions"),
    "twice": ([0, 1, 4], [5, 3, 2, 3], None, None, ValueError, "state 1, entries 0 and 2: prime 3 occurs twice"),
    "float primes": ([0, 1], [2.0], None, None, TypeError, "primes has dtype float64: integers are wanted"),
    "boolean primes": ([0, 1], [True], None, None, TypeError, "primes has dtype bool"),
    "text primes": ([0, 1], ["2"], None, None, TypeError, "primes has dtype <U1"),
    "huge primes": ([0, 1], np.array([2**64 - 59], np.uint64), None, None, ValueError, "numbers below 2**63"),
    "primes in a matrix": ([0, 1], [[2]], None, None, ValueError, "primes.ravel()"),
    "no indptr": ([], [], None, None, ValueError, "no states is [0]"),
    "indptr starts late": ([1, 2], [2, 3], None, None, ValueError, "it must start with 0"),
    "indptr falls": ([0, 2, 1, 3], [2, 3, 5], None, None, ValueError, "falls from 2 to 1 at state 1"),
    "indptr ends early": ([0, 2], [2, 3, 5], None, None, ValueError, "ends with 2 but there are 3 primes"),
    "negative indptr": ([0, -1], [], None, None, ValueError, "falls from 0 to -1"),
    "float indptr": ([0.0, 1.0], [2], None, None, TypeError, "indptr has dtype float64"),
    "NaN amplitude": (
        [0, 1, 3],
        [2, 3, 5],
        [1, 1, np.nan],
        None,
        ValueError,
        "state 1, entry 1 (prime 5): amplitude nan",
    ),
    "infinite amplitude": ([0, 3], [2, 3, 5], [1, -np.inf, 1], None, ValueError, "entry 1 (prime 3): amplitude -inf"),
    "infinite imaginary": ([0, 1], [2], [complex(0, np.inf)], None, ValueError, "is not finite"),
    "amplitude too short": (
        [0, 3],
        [2, 3, 5],
        [1, 1],
        None,
        ValueError,
        "amplitude has shape (2,): one number for each",
    ),
    "text amplitude": ([0, 1], [2], ["1"], None, TypeError, "amplitude has dtype <U1: real or complex"),
    "object amplitude": ([0, 1], [2], [None], None, TypeError, "amplitude has dtype object"),
    "long amplitude": ([0, 1], [2], np.ones(1, np.longdouble), None, TypeError, "pass amplitude.astype(complex)"),
    "NaN orientation": ([0, 3], [2, 3, 5], None, Q * [1, 1, 1, np.nan], ValueError, "state 0, entry 0 (prime 2)"),
    "infinite orientation": ([0, 1], [2], None, [[np.inf, 0, 0, 0]], ValueError, "is not finite; pass (1, 0, 0, 0)"),
    "zero quaternion": ([0, 2, 3], [2, 3, 5], None, Q * [[1], [1], [0]], ValueError, "state 1, entry 0 (prime 5)"),
    "complex orientation": ([0, 1], [2], None, [[1j, 0, 0, 0]], TypeError, "orientation has dtype complex128: real"),
    "orientation too short": ([0, 3], [2, 3, 5], None, Q[:2], ValueError, "orientation has shape (2, 4)"),
    "orientation of three": ([0, 3], [2, 3, 5], None, Q[:, :3], ValueError, "is wanted, shape (3, 4)"),
    "ragged orientation": ([0, 2], [2, 3], None, [[1, 0, 0, 0], [1]], ValueError, "orientation is ragged"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_the_state_and_the_entry(case):
    *arrays, error, message = REFUSED[case]
    with pytest.raises(error, match=re.escape(message)):
        PrimeStates.from_arrays(*arrays)


@pytest.mark.parametrize(
    ("states", "error", "message"),
    [
        ({2: 1}, TypeError, "pass [state]"),
        ([[2, 3]], TypeError, "state 0 is a list: a mapping"),
        ([{}, {2.0: 1}], TypeError, "state 1, entry 0: the key 2.0 is a float"),
        ([{True: 1}], TypeError, "primes are integers"),
        ([{2: "a"}], ValueError, "state 0, entry 0 (prime 2): 'a' is neither"),
        ([{2: (1, (1, 0, 0))}], ValueError, "pass for example (1 + 0j, (1, 0, 0, 0))"),
        (
            [{2: 1, 3: (1, (0, 0, 0, 0))}],
            ValueError,
            "state 0, entry 1 (prime 3): orientation (0.0, 0.0, 0.0, 0.0) is the",
        ),
        ([{2: 1}, {4: 1}], ValueError, "state 1, entry 0: 4 is composite"),
        ([{2: 1}, {2**70: 1}], ValueError, "primes below 2**63"),
    ],
)
def test_refused_dicts(states, error, message):
    with pytest.raises(error, match=re.escape(message)):
        PrimeStates.from_dicts(states)


def test_refused_labels(batch):
    with pytest.raises(ValueError, match=r"labels have shape \(2,\): one for each of the 7"):
        batch.with_labels(["a", "b"])
    with pytest.raises(TypeError, match="text, numbers or dates"):
        batch.with_labels([object()] * 7)


@pytest.mark.cudasim
def test_cuda_arrays_are_refused():
    with pytest.raises(TypeError, match=r"primes is a CUDA array.*pa.to_host\(primes\)"):
        PrimeStates([0, 1], devices.to_device(np.array([2])))


# Parts


def test_parts(batch):
    n = len(batch)
    assert [len(x) for x in batch] == [1] * n
    assert [x.nnz for x in batch] == [3, 0, 5, 1, 0, 4, 2] == batch.n_active.tolist()
    dicts = batch.to_dicts()
    indices = [slice(None), slice(2, 5), slice(5, 2), slice(-3, None), slice(None, None, -1), slice(1, None, 2)]
    for index in indices:
        assert batch[index].to_dicts() == dicts[index]
        assert batch[index].labels.tolist() == list("abcdefg")[index]
    assert batch[3].to_dicts() == dicts[3:4] == batch[-4].to_dicts() == batch[np.int8(3)].to_dicts()
    mask = batch.n_active > 2
    for index in (mask, mask.tolist(), np.flatnonzero(mask), [0, 2, 5], [-7, -5, -2]):
        assert batch[index].to_dicts() == [dicts[0], dicts[2], dicts[5]]
    assert batch[[2, 2, 0]].to_dicts() == [dicts[2], dicts[2], dicts[0]]
    assert len(batch[[]]) == 0
    assert np.shares_memory(batch[2:6].primes, batch.primes)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (7, "state 7 was asked for but there are 7"),
        (-8, "state -8"),
        ([0, 9], "state 9"),
        ([True, False], "the mask has 2 entries but there are 7"),
        ([0.5], "integers or booleans"),
        ([[0]], r"shape \(1, 1\)"),
    ],
)
def test_parts_that_are_not_there(batch, index, message):
    with pytest.raises(IndexError, match=message):
        batch[index]


def test_concatenation_inverts_cutting(batch):
    assert PrimeStates.concatenate(list(batch)) == batch
    joined = PrimeStates.concatenate([batch[:3], batch[3:]])
    assert joined.labels.tolist() == list("abcdefg")
    assert PrimeStates.concatenate([batch, batch.with_labels(None)]).labels is None
    assert PrimeStates.concatenate([]) == PrimeStates.empty()
    assert PrimeStates.concatenate([batch.astype("float32"), batch]).dtype == np.float64
    with pytest.raises(TypeError, match=r"batches\[1\] is a dict: PrimeStates are wanted"):
        PrimeStates.concatenate([batch, {2: 1}])


def test_equality(batch):
    assert batch == batch.with_labels(None)
    assert batch != batch[::-1]
    assert batch != "abc"
    changed = PrimeStates(batch.indptr, batch.primes, batch.amplitude * 2, batch.orientation)
    assert not batch.equals(changed)
    with pytest.raises(TypeError, match="unhashable"):
        hash(batch)


def test_copies_and_pickles(batch):
    assert copy.copy(batch) is batch is copy.deepcopy(batch)
    for part in (batch, batch[2:4], PrimeStates.empty()):
        back = pickle.loads(pickle.dumps(part))
        assert back == part
        assert not back.primes.flags.writeable
        assert (back.labels is None) == (part.labels is None)


def test_astype(batch):
    assert batch.astype("float64") is batch is batch.astype(complex)
    single = batch.astype(np.complex64)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single.orientation, batch.orientation, rtol=0, atol=1e-7)
    with pytest.raises(ValueError, match="not finite"):
        PrimeStates([0, 1], [2], [1e60]).astype("float32")
    with pytest.raises(TypeError, match=r"dtype is 'int32': numpy\.float32 or numpy\.float64"):
        batch.astype("int32")


def test_sizes_and_repr(batch):
    assert batch.nbytes == 8 * 8 + 15 * (8 + 16 + 32) + 7 * 4
    assert repr(batch[1]) == "PrimeStates(n=1, entries=0, float64)"
    assert repr(PrimeStates.from_dicts([{2: 1, 5: 1}])) == "PrimeStates(n=1, entries=2, primes 2..5, float64)"


def test_html_is_escaped_and_short(rng):
    s = PrimeStates.random(5000, 40, rng=rng).with_labels([f"<b>{i}&" for i in range(5000)])
    html = s._repr_html_()
    assert "&lt;b&gt;0&amp;" in html
    assert "<b>0" not in html
    assert "4,992 more" in html
    assert "+30" in html
    assert len(html) < 40_000
    assert not re.search(r"(?<!background-)color:\s*(black|white|#)", html)  # reads on light and dark pages
    assert "y" * 48 not in PrimeStates([0, 1], [2], labels=["x" + "y" * 100])._repr_html_()
    assert "nan" not in PrimeStates([0, 1, 1], [2], [0])._repr_html_()


# Random states


@pytest.mark.parametrize("distribution", ["uniform", "zipf"])
@pytest.mark.parametrize(("k", "n_primes"), [(3, 5), (5, 5), (2, 400), (0, 5), (1, 1)])
def test_random_states_are_valid_and_repeatable(distribution, k, n_primes):
    options = {"n_primes": n_primes, "distribution": distribution, "dtype": "float32"}
    s = PrimeStates.random(50, k, rng=3, **options)
    assert s == PrimeStates.random(50, k, rng=np.random.default_rng(3), **options)
    assert k == 0 or s != PrimeStates.random(50, k, rng=4, **options)
    assert s == PrimeStates(s.indptr, s.primes, s.amplitude, s.orientation)  # valid
    assert (s.n_active == k).all()
    assert s.nnz == 0 or s.primes.max() <= primes.nth(n_primes - 1)


def test_random_law():
    """Which pairs of 4 primes occur: all 6 alike, or in the proportions of drawing by weight without repetition."""
    n = 60_000
    for weight in (np.ones(4), 1 / np.arange(1, 5)):
        share = weight / weight.sum()
        wanted = np.zeros(16)
        for i in range(4):
            for j in range(4):
                if i != j:
                    wanted[4 * min(i, j) + max(i, j)] += share[i] * share[j] / (1 - share[i])
        for draw in (_construct._columns_by_clocks, _construct._columns):
            columns = draw(np.full(n, 2), weight, np.random.default_rng(1)).reshape(n, 2)
            found = np.bincount(4 * columns[:, 0] + columns[:, 1], minlength=16) / n
            assert np.abs(found - wanted).max() < 5 * (0.25 / n) ** 0.5  # five standard deviations


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 9, "n_primes": 8}, "pass a larger n_primes"),
        ({"k": -1}, "k is -1"),
        ({"k": [1, 2]}, "k has 2 numbers for 3 states"),
        ({"k": 2, "distribution": "normal"}, "'uniform' or 'zipf'"),
    ],
)
def test_random_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        PrimeStates.random(3, **options)


# Other forms


def test_dense_and_scipy(batch):
    dense, orientation = batch.to_dense(), batch.to_dense(component="orientation")
    matrices = batch.to_scipy()
    table = primes.first(dense.shape[1])
    assert table[-1] == batch.primes.max()
    for i, state in enumerate(batch.to_dicts()):
        for c, p in enumerate(table.tolist()):
            a, q = state.get(p, (0, (0, 0, 0, 0)))
            assert dense[i, c] == a == matrices["amplitude"][i, c]
            assert tuple(orientation[i, c]) == tuple(q) == tuple(matrices[name][i, c] for name in "wxyz")
    for x in matrices.values():
        x.data[:] = 0  # the caller's own
    assert batch.to_scipy()["w"].nnz == batch.nnz
    assert batch.to_dense(100).shape == (7, 100)
    assert PrimeStates.empty(2).to_dense().shape == (2, 0)
    with pytest.raises(ValueError, match="pass n_primes >= "):
        batch.to_dense(2)
    with pytest.raises(ValueError, match="'amplitude' or 'orientation'"):
        batch.to_dense(component="w")
    with pytest.raises(MemoryError, match=r"use to_scipy\(\).*max_bytes=\d+"):
        batch.to_dense(max_bytes=100)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_xarray_round_trip_is_exact(batch, dtype):
    pytest.importorskip("xarray")
    s = batch.astype(dtype)
    back = PrimeStates.from_xarray(s.to_xarray())
    assert back == s
    assert back.dtype == dtype
    assert back.labels.tolist() == s.labels.tolist()
    assert PrimeStates.from_xarray(s.with_labels(None).to_xarray()).labels is None
    assert PrimeStates.from_xarray(PrimeStates.empty(2).to_xarray()) == PrimeStates.empty(2)
    transposed = s.to_xarray().transpose().isel(component=[3, 2, 1, 0])
    assert PrimeStates.from_xarray(transposed) == s  # by name, not by position
    with pytest.raises(ValueError, match="lacks prime"):
        PrimeStates.from_xarray(s.to_xarray().drop_vars("prime"))
    with pytest.raises(TypeError, match=r"dict came where an xarray\.Dataset"):
        PrimeStates.from_xarray({})
    broken = s.to_xarray()
    broken["prime"] = broken["prime"] + 1
    with pytest.raises(ValueError, match=r"not a prime|composite"):
        PrimeStates.from_xarray(broken)


# From other things (the encoders have tests of their own: here that their arrays arrive)


def test_from_dense(rng):
    x = rng.standard_normal((5, 9)) * (rng.random((5, 9)) < 0.6)
    s = PrimeStates.from_dense(x)
    np.testing.assert_array_equal(s.to_dense(9), x)
    assert PrimeStates.from_dense(x, k=2) == s.sparsify(k=2)
    assert PrimeStates.from_dense(x, energy=0.8) == s.sparsify(energy=0.8)
    assert PrimeStates.from_dense(x.astype(np.complex64)).dtype == np.float32
    q = rng.standard_normal((5, 9, 4))
    turned = PrimeStates.from_dense(x, orientation=q)
    wanted = q / np.linalg.norm(q, axis=-1, keepdims=True)
    q[:] = 0  # the caller's array stays the caller's
    np.testing.assert_allclose(turned.to_dense(9, component="orientation")[x != 0], wanted[x != 0], rtol=0, atol=1e-15)
    assert PrimeStates.from_dense([[1.0, 2.0]], primes=[7, 3]).to_dicts() == [{3: (2, IDENTITY), 7: (1, IDENTITY)}]


def test_from_integers_and_text():
    s = PrimeStates.from_integers([360, 1, 97], dtype="float32")
    assert s.primes.tolist() == [2, 3, 5, 97]
    np.testing.assert_allclose(np.abs(s.amplitude) ** 2, [3, 2, 1, 1], rtol=1e-6)
    assert s.dtype == np.float32
    for scheme in ("ngram", "original"):
        text = PrimeStates.from_text(["prime numbers", "", "prime number"], scheme=scheme, k=8, dtype="float32")
        assert len(text) == 3
        assert text.n_active.max() <= 8
        assert text.dtype == np.float32


# Size


def test_ten_million_entries(tmp_path):
    """Everything at 10^7 active primes: linear passes, no Python loop over entries (seconds in all)."""
    n, k = 625_000, 16
    columns = (np.arange(n) % 2000)[:, None] + 7 * np.arange(k)
    indptr = np.arange(n + 1) * k
    q = np.zeros((n * k, 4), np.float32)
    q[:, 1:3] = 1
    s = PrimeStates(indptr, primes.first(2200)[columns.ravel()], np.full(n * k, 0.5, np.complex64), q)
    assert s.nnz == 10_000_000
    assert s.nbytes < 33 * s.nnz
    unit = s.normalize()
    np.testing.assert_allclose(unit.amplitude[::99_991], 0.25, rtol=1e-6)
    np.testing.assert_allclose(unit.entropy()[::9973], 4, rtol=1e-6)
    assert s[100_000:200_000].nnz == 1_600_000
    twice = s.compose(s)  # (x + y)^2 / 2 = -1
    assert twice.nnz == s.nnz
    np.testing.assert_allclose(twice.orientation[::99_991], -np.eye(4, dtype=np.float32)[[0] * 101], rtol=0, atol=1e-6)
    s.save(tmp_path / "s.npz")
    assert PrimeStates.load(tmp_path / "s.npz") == s


# Of another kind, or out of range


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: PrimeStates.empty(-1), ValueError, "n is -1"),
        (lambda: PrimeStates.empty(1.5), TypeError, "n holds 1.5"),
        (lambda: PrimeStates.random(2.5, 3), TypeError, "n holds 2.5"),
        (lambda: PrimeStates.random(2, 3, n_primes="4"), TypeError, "n_primes has dtype"),
        (lambda: PrimeStates.random(10**18, 1), MemoryError, "more than this machine's memory"),
        (lambda: PrimeStates.empty(2).to_dense(-3), ValueError, "n_primes is -3"),
        (lambda: PrimeStates.empty(2).to_scipy(-3), ValueError, "n_primes is -3"),
        (lambda: PrimeStates.empty(2).to_dense(50.0), TypeError, "write 50"),
        (lambda: PrimeStates([0, 1], [2], np.ma.masked_equal([1.0], 1)), TypeError, r"amplitude\.filled"),
        (lambda: PrimeStates([0, 1], np.ma.masked_equal([2], 2)), TypeError, r"primes\.filled"),
        (lambda: PrimeStates.from_dicts([{2: ("1", (1, 0, 0, 0))}]), ValueError, "neither an amplitude"),
        (lambda: PrimeStates.from_dicts([{2: (1, ("1", 0, 0, 0))}]), ValueError, "neither an amplitude"),
    ],
)
def test_numbers_at_the_door(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_labels_follow_the_states_that_are_left():
    named = PrimeStates.from_dicts([{2: 1}], labels=["x"])
    for made in (PrimeStates.empty(0).compose(named), named.compose(PrimeStates.empty(0))):
        assert len(made) == 0
    assert PrimeStates.empty(1).compose(named).labels is None
    dates = named.with_labels(np.array(["2020-01-01"], "M8[D]"))
    with pytest.raises(TypeError, match=r"labels of the batches have dtypes datetime64\[D\], int64"):
        PrimeStates.concatenate([dates, named.with_labels([1])])


def test_an_overflow_advises_what_helps():
    for dtype, helps in (("float32", True), ("float64", False)):
        big = PrimeStates.from_dicts([{2: 1e38 if helps else 1e308}]).astype(dtype)
        with pytest.raises(ValueError, match="overflows") as caught:
            big.compose(big)
        assert ("astype('float64')" in str(caught.value)) == helps


def test_datasets_cut_along_an_axis_say_so(batch):
    pytest.importorskip("xarray")
    with pytest.raises(ValueError, match="selection along 'state'"):
        PrimeStates.from_xarray(batch.to_xarray().isel(state=slice(2)))
    with pytest.raises(ValueError, match=r"components \['w', 'x'\]"):
        PrimeStates.from_xarray(batch.to_xarray().isel(component=[0, 1]))
