"""Index: exact against sorted scores, ties, growth, bounds that hold, files that are distrusted, refusals."""

import io
import zipfile
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import primeattn as pa
from primeattn.resonance import Index
from primeattn.resonance._index_search import FEW, ceiling
from primeattn.resonance._options import check_form

from .naive import index as naive
from .naive import resonance as naive_scores
from .test_resonance import VARIANTS, dicts

COUNTED = {
    "jaccard": {"weights": (1, 0, 0)},
    "sqrt-count": {"weights": (1, 0, 0), "normalizer": "sqrt"},
    "original-count": {"kind": "original", "weights": (1, 0, 0)},
}
ALL = VARIANTS | COUNTED
# sums of at most 40 terms below 1 in another order
CLOSE = {"float64": 64 * np.finfo(np.float64).eps, "float32": 64 * np.finfo(np.float32).eps}


def batch(rng, n, k_max=20, n_primes=200, **options):
    return pa.PrimeStates.random(n, rng.integers(0, k_max + 1, n), n_primes=n_primes, rng=rng, **options)


def check(found, matrix, ids, k, close):
    """``found`` is a best-k list of the scores ``matrix`` up to rounding, and well formed."""
    scores, names = found
    assert scores.shape == names.shape == (len(matrix), k)
    expected = naive.top(matrix.tolist(), list(ids), k)
    column = {identity: c for c, identity in enumerate(ids)}
    for row, (s, i, best) in enumerate(zip(scores, names, expected, strict=True)):
        np.testing.assert_allclose(s, [score for score, _ in best], rtol=0, atol=close)
        assert (np.diff(s) <= 0).all()
        real = i >= 0
        assert (s[~real] == 0).all()
        assert len(set(i[real].tolist())) == real.sum() == sum(score > 0 for score, _ in best)
        np.testing.assert_allclose(s[real], matrix[row, [column[name] for name in i[real]]], rtol=0, atol=close)
        equal = np.flatnonzero(real[1:] & (np.diff(s) == 0))
        assert (i[equal + 1] > i[equal]).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", ALL)
@pytest.mark.parametrize("distribution", ["uniform", "zipf"])
def test_equals_sorted_scores(rng, variant, distribution, dtype):
    """200 primes: the 64 most common ones are words under Zipf, and lists where they are rare."""
    options = ALL[variant]
    states, queries = (batch(rng, n, distribution=distribution, dtype=dtype) for n in (333, 40))
    index = Index(states, **options)
    matrix = pa.resonance.matrix(queries, states, **options)
    for k in (1, 7):
        scores, ids = index.query(queries, k)
        assert scores.dtype == dtype
        assert ids.dtype == np.int64
        check((scores, ids), matrix, range(333), k, CLOSE[dtype])
    if variant not in COUNTED and dtype == "float64":  # no ties, no rounding between neighbours: ids agree too
        expected = naive.top(matrix.tolist(), range(333), 7)
        np.testing.assert_array_equal(ids, [[i for _, i in row] for row in expected])


@pytest.mark.parametrize("variant", ALL)
def test_equals_the_naive_scores(rng, variant):
    options = dict(ALL[variant])
    weights = options.pop("weights", (0.5, 0.2, 0.3))
    states, queries = batch(rng, 12, 5, 7), batch(rng, 5, 5, 7)
    matrix = naive_scores.matrix(dicts(queries), dicts(states), weights, **options)
    found = Index(states, weights=weights, **options).query(queries, 20)
    check(found, matrix, range(12), 20, CLOSE["float64"])


@pytest.mark.parametrize("n", [1, 63, 64, 65, 128, 1000])
def test_blocks_and_lazy_words(rng, n):
    """Common primes in words, rare ones in lists; most blocks are met by no rare prime."""
    common = [set(rng.choice(40, 12, replace=False).tolist()) for _ in range(n)]
    for i in rng.choice(n, min(n, 5), replace=False):
        common[i] |= {100 + int(i), 2000}
    table = pa.primes.first(3000)
    states = pa.PrimeStates.from_dicts([{int(table[c]): 1 for c in s} for s in common])
    for options in ({"weights": (1, 0, 0)}, {}):
        index = Index(states, **options)
        check(index.query(states, 9), pa.resonance.matrix(states, **options), range(n), 9, CLOSE["float64"])


@pytest.mark.parametrize(
    ("k", "n_primes", "least", "most"),
    [(20, 400, FEW + 1, 4000), (12, 800, 11, FEW), (4, 4000, 0, 11)],
    ids=["more than are listed", "those listed", "lists that are thin, and states met once"],
)
def test_states_that_share_two_primes(rng, k, n_primes, least, most):
    states = pa.PrimeStates.random(4000, k, n_primes=n_primes, rng=rng)
    shared = pa.resonance.matrix(states[:8], states, kind="original", weights=(1, 0, 0))
    assert least <= (shared >= 1.5 / (2 * k)).sum(1).min() <= (shared >= 1.5 / (2 * k)).sum(1).max() <= most
    for options in ({"weights": (1, 0, 0)}, {}):
        index = Index(states, **options)
        matrix = pa.resonance.matrix(states[:8], states, **options)
        check(index.query(states[:8], 11), matrix, range(4000), 11, CLOSE["float64"])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sets(st.sampled_from([2, 3, 5, 7, 11, 13, 17]), max_size=6), min_size=1, max_size=30), st.data())
def test_ties_of_equal_fractions_go_by_id(sets, data):
    """Jaccard by exact fractions: 1/2 and 2/4 tie, whatever the order of the states."""
    query = data.draw(st.sets(st.sampled_from([2, 3, 5, 7, 11, 13, 17]), max_size=6))
    k = data.draw(st.integers(1, 31))
    index = Index(pa.PrimeStates.from_dicts([dict.fromkeys(s, 1) for s in sets]), weights=(1, 0, 0))
    scores, ids = index.query(pa.PrimeStates.from_dicts([dict.fromkeys(query, 1)]), k)
    exact = [[Fraction(len(s & query), len(s | query)) if s & query else Fraction(0) for s in sets]]
    expected = naive.top(exact, range(len(sets)), k)[0]
    assert ids[0].tolist() == [i for _, i in expected]
    assert scores[0].tolist() == [float(s) for s, _ in expected]


@pytest.mark.parametrize("variant", ALL)
def test_copies_tie_exactly(rng, variant):
    one = batch(rng, 30, distribution="zipf")
    scores, ids = Index(pa.PrimeStates.concatenate([one] * 4), **ALL[variant]).query(one, 120)
    for s, i in zip(scores, ids, strict=True):
        real = i >= 0
        equal = np.diff(s[real]) == 0
        assert (np.diff(i[real])[equal] > 0).all()
        assert real.sum() % 4 == 0
        assert len(set(zip(s[real].tolist(), (i[real] % 30).tolist(), strict=True))) * 4 == real.sum()


@pytest.mark.parametrize("variant", ["union", "sqrt", "ruzicka", "ruzicka-sqrt"])
def test_the_bound_holds(rng, variant):
    """The level of every pair bounds its score; a bound that is 1% lower does not (so this test can fail)."""
    form = check_form(**({"weights": (0.8, 0.1, 0.1)} | VARIANTS[variant]), **_rest(VARIANTS[variant]))
    s = batch(rng, 60, distribution="zipf")
    s = pa.PrimeStates(s.indptr, s.primes, np.abs(s.amplitude))  # all aligned, all in phase: the bound is reached
    a = pa.PrimeStates.concatenate([s, s.sparsify(k=3)])
    matrix = pa.resonance.matrix(s, a, weights=form.weights, **VARIANTS[variant])
    total = np.add.reduceat(np.append(np.abs(a.amplitude), 0), a.indptr[:-1]) * (a.n_active > 0)
    broken = 0
    for i, j in np.argwhere(matrix > 0):
        own = s[int(i)]
        c = len(np.intersect1d(own.primes, a[int(j)].primes))
        reach = min(total[i], c * np.abs(own.amplitude).max())
        arguments = (c, len(own.primes), int(a.n_active[j]), reach, total[i], total[j], form[:2], form.weights)
        bound = ceiling(*arguments)
        assert matrix[i, j] <= bound * (1 + 1e-12)
        broken += matrix[i, j] > 0.99 * bound
    assert broken > 0


def test_weights_that_sum_to_a_little_more():
    """check_weights lets 1 + 1e-6 pass; then a state may score more than its overlap."""
    cosine = 2 * (1 - 5e-7) - 1  # coherence 1 - 5e-7
    weak = complex(cosine, np.sqrt(1 - cosine**2))
    a = 0.5  # overlap of the query {2: 1} with {2: a, 5: sqrt(1 - a^2)}
    b = a * (1 + 4e-7)
    states = pa.PrimeStates.from_dicts([{2: b * weak, 5: np.sqrt(1 - b * b)}, {2: a, 5: np.sqrt(1 - a * a)}])
    weights = (0.0, 0.0, 1 + 9e-7)
    query = pa.PrimeStates.from_dicts([{2: 1}])
    scores = pa.resonance.matrix(query, states, amplitude=True, weights=weights)[0]
    assert a < scores[0] < scores[1]  # the first is scored first, and the overlap of the second is below that
    assert Index(states, amplitude=True, weights=weights).query(query, 1)[1] == 1


def _rest(options):
    defaults = {"kind": "kernel", "normalizer": "union", "overlap": "jaccard", "amplitude": False}
    return {name: value for name, value in defaults.items() if name not in options}


@pytest.mark.parametrize("variant", ["union", "amplitude", "original", "jaccard"])
def test_grows_and_shrinks(rng, variant):
    options = ALL[variant]
    every = batch(rng, 300, distribution="zipf")
    queries = batch(rng, 15, distribution="zipf")
    matrix = pa.resonance.matrix(queries, every, **options)
    index = Index(every[:100], **options)
    there = list(range(100))
    at = 100
    while at < 300:
        size = int(rng.choice([1, 1, 2, 30]))
        ids = index.add(every[at : at + size])
        assert ids.tolist() == list(range(at, min(at + size, 300)))
        there += ids.tolist()
        at += len(ids)
        gone = rng.choice(there, min(len(there) // 3, int(rng.choice([0, 1, 20]))), replace=False)
        index.remove(gone)
        there = [i for i in there if i not in set(gone.tolist())]
        assert len(index) == len(there)
    assert index.ids.tolist() == there
    assert there[0] in index
    assert 300 not in index
    check(index.query(queries, 12), matrix[:, there], there, 12, CLOSE["float64"])
    assert index.states == pa.PrimeStates.concatenate([every[i] for i in there])
    index.remove(index.ids)
    assert len(index) == 0
    assert (index.query(queries, 3)[1] == -1).all()
    assert index.add(every[:2]).tolist() == [300, 301]  # ids are never given twice


def test_empty_things(rng):
    s = batch(rng, 5)
    for index in (Index(), Index(pa.PrimeStates.empty()), Index(pa.PrimeStates.empty(3))):
        scores, ids = index.query(s, 4)
        assert scores.shape == (5, 4)
        assert not scores.any()
        assert (ids == -1).all()
    scores, ids = Index(s).query(pa.PrimeStates.empty(2), 3)
    assert (ids == -1).all()
    assert Index(s).query(s[:0], 3)[0].shape == (0, 3)
    assert len(Index(pa.PrimeStates.empty(3))) == 3


def test_many_primes_in_a_state(rng):
    """More shared primes than a counter holds: gathered sums."""
    from primeattn.resonance import _index_segment

    s = batch(rng, 60, 40)
    expected = Index(s).query(s, 5)
    form = check_form("kernel", None, "union", "jaccard", False)
    assert _index_segment.method_of(form, 65_535) == _index_segment.BY_COUNT_THEN_SCORE
    assert _index_segment.method_of(form, 65_536) == _index_segment.BY_SUMS
    large = pa.primes.first(65_600)
    big = pa.PrimeStates([0, 65_600, 65_602], np.concatenate([large, large[:2]]))
    for weights in (None, (1, 0, 0)):
        scores, ids = Index(big, weights=weights).query(big, 2)
        assert ids.tolist() == [[0, 1], [1, 0]]
        np.testing.assert_allclose(scores[:, 1], 2 / 65_600, rtol=1e-9)  # 65,600 terms of 1: exact sums
    np.testing.assert_array_equal(expected[1][:, 0][s.n_active > 0], np.flatnonzero(s.n_active))


def test_sparse_tables_of_large_primes():
    """Primes too large for a table are searched for."""
    top = [2**61 - 1, 2**31 - 1, 1_000_003, 2]
    s = pa.PrimeStates.from_dicts([{top[0]: 1, top[1]: 1}, {top[1]: 1, top[2]: 1}, {top[3]: 1}])
    check(Index(s).query(s, 3), pa.resonance.matrix(s), range(3), 3, CLOSE["float64"])
    other = pa.PrimeStates.from_dicts([{1_000_033: 1, top[1]: 1, 3: 1}])
    check(Index(s).query(other, 3), pa.resonance.matrix(other, s), range(3), 3, CLOSE["float64"])


def test_threads_do_not_change_a_bit(rng):
    import numba

    s = batch(rng, 400, distribution="zipf")
    index = Index(s)
    many = index.query(s, 10)
    before = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        one = index.query(s, 10)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(many[0], one[0])
    np.testing.assert_array_equal(many[1], one[1])


def test_precision_is_that_of_the_index(rng):
    s = batch(rng, 50)
    single = Index(s.astype("float32"))
    scores, _ = single.query(s, 3)
    assert scores.dtype == single.dtype == np.float32
    assert Index(s).query(s.astype("float32"), 3)[0].dtype == np.float64
    with pytest.raises(ValueError, match=r"too large for the float32"):
        single.query(pa.PrimeStates.from_dicts([{2: 1e200}]))


def test_labelled_queries():
    pytest.importorskip("xarray")
    s = pa.PrimeStates.from_dicts([{2: 1}, {3: 1, 2: 1}], labels=["a", "b"])
    scores, ids = Index(s.to_xarray()).query(s.to_xarray(), 2)
    assert scores.dims == ids.dims == ("state", "rank")
    assert scores.state.values.tolist() == ["a", "b"]
    assert ids.values.tolist() == [[0, 1], [1, 0]]


def test_memory_and_words(rng):
    s = batch(rng, 100, dtype="float32")
    index = Index(s, weights=(1, 0, 0))
    # 8 bytes of lists an activation; ids, flags and words of each state, and tables of primes beside them
    assert index.nbytes >= s.nbytes + 8 * s.nnz
    assert index.nbytes < s.nbytes + 8 * s.nnz + 100 * 17 + 64 * 8 + 16 * 202 + 4 * 1300
    assert Index(s).nbytes == index.nbytes + (32 * s.nnz + 4 * 100)
    assert repr(index).startswith(f"Index(n=100, entries={s.nnz}, kind='kernel', normalizer='union', float32, ")
    assert "overlap='ruzicka'" in repr(Index(s, overlap="ruzicka"))
    assert "amplitude=True" in repr(Index(s, amplitude=True))
    assert index.options["weights"] == (1.0, 0.0, 0.0)


@pytest.mark.parametrize("variant", ALL)
def test_files(rng, tmp_path, variant):
    s = batch(rng, 80, dtype="float32")
    index = Index(s[:60], **ALL[variant])
    index.add(s[60:])
    index.remove([3, 70])
    index.save(tmp_path / "a.npz")
    again = Index.load(tmp_path / "a.npz")
    for x, y in zip(index.query(s, 5), again.query(s, 5), strict=True):
        np.testing.assert_array_equal(x, y)
    assert again.options == index.options
    assert again.states == index.states
    assert again.add(s[:1]).tolist() == [80]
    again.remove(80)
    again.remove([0])
    again.add(s[:1])
    index.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_files_that_are_refused(rng, tmp_path):
    s = batch(rng, 6)
    path = tmp_path / "index.npz"
    Index(s).save(path)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r"index.npz"):
            Index.load(path)
    for at in rng.integers(0, len(whole), 60):
        data = bytearray(whole)
        data[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(bytes(data))
        try:
            found = Index.load(path)
        except ValueError:
            continue
        assert found.states == s  # a byte that means nothing, such as a date
    s.save(path)
    with pytest.raises(ValueError, match=r"primeattn.PrimeStates, wanted: primeattn.Index"):
        Index.load(path)
    with pytest.raises(FileNotFoundError):
        Index.load(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("version", np.array(9), "version 9"),
        ("ids", np.arange(6)[::-1].copy(), "ids do not ascend"),
        ("ids", np.arange(5), "ids do not ascend"),
        ("next", np.array(3), "ids do not ascend"),
        ("next", np.array(3.0), "not int64"),
        ("options", np.array("{}"), "options of the score are not"),
        ("options", np.array(7), "options are no text"),
        ("options", np.array("not json"), "damaged"),
        ("primes", None, "members are"),
        ("extra", np.array(1), "members are"),
    ],
)
def test_content_that_is_refused(rng, tmp_path, name, value, message):
    path = tmp_path / "index.npz"
    Index(batch(rng, 6)).save(path)
    with np.load(path) as archive:
        members = dict(archive)
    members[name] = value
    if value is None:
        del members[name]
    with zipfile.ZipFile(path, "w") as archive:
        for key, x in members.items():
            stream = io.BytesIO()
            np.lib.format.write_array(stream, np.asarray(x), version=(1, 0))
            archive.writestr(f"{key}.npy", stream.getvalue())
    with pytest.raises(ValueError, match=message):
        Index.load(path)


def test_options_in_a_file_are_checked(rng, tmp_path):
    index = Index(batch(rng, 2))
    for change, message in (
        ({"kind": "other"}, "kind is 'other'"),
        ({"kind": 3}, "a str is wanted"),
        ({"weights": [1, 1, 1]}, "weights sum"),
    ):
        index._options.update(change)
        index.save(tmp_path / "x")
        with pytest.raises(ValueError, match=message):
            Index.load(tmp_path / "x")
        index._options["kind"] = "kernel"


def test_refusals(rng):
    s = batch(rng, 4)
    index = Index(s)
    with pytest.raises(TypeError, match="prime states are wanted"):
        Index([1, 2])
    with pytest.raises(TypeError, match="prime states are wanted"):
        index.query("text")
    with pytest.raises(TypeError, match="an integer is wanted"):
        index.query(s, 2.5)
    with pytest.raises(ValueError, match="at least 1"):
        index.query(s, 0)
    with pytest.raises(MemoryError, match="fewer states"):
        index.query(s, 10**13)
    with pytest.raises(KeyError, match="id 9 is not in the index"):
        index.remove([1, 9])
    assert len(index) == 4
    with pytest.raises(TypeError, match="list of integers"):
        index.remove([0.5])
    with pytest.raises(ValueError, match="without normalizer"):
        Index(s, kind="original", normalizer="sqrt")
    index.remove([])
    index.remove(2)
    with pytest.raises(KeyError):
        index.remove(2)


@pytest.mark.cudasim
def test_cuda_is_refused():
    from primeattn.resonance import StateArrays

    x = StateArrays.of(pa.PrimeStates.from_dicts([{2: 1}])).to_device()
    with pytest.raises(TypeError, match="Index runs on the CPU"):
        Index(x)
