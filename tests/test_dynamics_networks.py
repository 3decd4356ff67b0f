"""Networks: the fast loops against plain ones, what the matrices mean, rings and lattices."""

import math

import numpy as np
import pytest
from scipy import sparse

import primeattn as pa
from primeattn.dynamics import _drive, _slices, networks

from .naive import networks as naive

pytestmark = pytest.mark.filterwarnings("ignore:dt is 1, but the model moves:RuntimeWarning")

# One Euler step of length 1 from |theta| < 4 adds a derivative: sums of at most 1000 terms of size 1.
ROUNDING = 1e-12


def one_step(model, theta):
    """theta' at theta, through the kernel of time steps."""
    return pa.simulate(model, (0, 1), theta, method="euler", dt=1.0, samples=2).theta_end - theta


def check(rng, W, **options):
    n = W.shape[0]
    theta, omega = rng.uniform(-math.pi, math.pi, n), rng.normal(size=n)
    model = pa.Kuramoto(omega, 1.3, W, phase_lag=0.4, **options)
    dense = W.toarray() if sparse.issparse(W) else np.asarray(W)
    wanted = naive.slopes(theta, omega, 1.3, dense.tolist(), options.get("normalize", "size"), 0.4)
    np.testing.assert_allclose(one_step(model, theta), wanted, atol=ROUNDING * max(1, np.abs(dense).sum(1).max() / n))
    return model


def random(rng, n, density, weighted):
    W = (rng.random((n, n)) < density) * (rng.normal(size=(n, n)) if weighted else 1.0)
    W[n // 2] = 0  # hears nobody
    return W


@pytest.mark.parametrize("weighted", [False, True], ids=["ones", "signed"])
@pytest.mark.parametrize(("n", "density"), [(1, 1.0), (2, 0.5), (5, 0.5), (33, 0.1), (150, 0.05), (150, 0.9)])
def test_against_loops(rng, n, density, weighted):
    """Directed, with self loops and empty rows; rows of more than 64 edges at 150."""
    for normalize in ("size", "degree", None):
        check(rng, sparse.csr_array(random(rng, n, density, weighted)), normalize=normalize)


def test_several_blocks(rng):
    """Blocks of 2048: against SciPy's products, as loops would take a minute."""
    n = 5000
    W = sparse.random_array((n, n), density=0.002, rng=rng, format="csr")
    hub = sparse.csr_array((np.ones(n), (np.full(n, 4000), np.arange(n))), shape=(n, n))
    theta, omega = rng.uniform(-math.pi, math.pi, n), rng.normal(size=n)
    for A in (W, W + hub):
        z = np.exp(1j * theta)
        wanted = omega + 2.0 / n * (z.conj() * (A @ z)).imag
        np.testing.assert_allclose(one_step(pa.Kuramoto(omega, 2.0, A), theta), wanted, atol=ROUNDING)


def test_harmonics(rng):
    n = 40
    W = random(rng, n, 0.2, True)
    theta, omega = rng.uniform(-math.pi, math.pi, n), np.zeros(n)
    found = one_step(pa.Kuramoto(omega, 0.7, W, harmonics={3: (0.4, 0.2)}), theta)
    apart = theta[None] - theta[:, None]
    wanted = (W * (0.7 * np.sin(apart) + 0.4 * np.sin(3 * apart - 0.2))).sum(axis=1) / n
    np.testing.assert_allclose(found, wanted, atol=ROUNDING)


def test_kinds_of_matrices_agree(rng):
    W = random(rng, 30, 0.2, False)
    theta, omega = rng.uniform(-math.pi, math.pi, 30), rng.normal(size=30)
    first = one_step(pa.Kuramoto(omega, 1.0, W), theta)
    rows, columns = np.nonzero(W)
    twice = sparse.coo_array((np.full(2 * len(rows), 0.5), (np.tile(rows, 2), np.tile(columns, 2))), shape=W.shape)
    for other in (
        W.astype(bool), W.astype(np.float32), W.astype(">f8"), np.asfortranarray(W), W.tolist(), sparse.csc_array(W),
        sparse.coo_matrix(W), twice, networks.from_edges(30, columns, rows),
    ):  # fmt: skip
        np.testing.assert_array_equal(one_step(pa.Kuramoto(omega, 1.0, other), theta), first)


def test_an_edge_of_networkx_is_heard_by_its_head(rng):
    networkx = pytest.importorskip("networkx")
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(3))
    graph.add_edge(0, 1, weight=2.0)
    found = one_step(pa.Kuramoto(np.zeros(3), 1.0, graph, normalize=None), np.array([0.5, 0.0, 1.0]))
    np.testing.assert_allclose(found, [0.0, 2 * math.sin(0.5), 0.0], atol=ROUNDING)
    both = one_step(pa.Kuramoto(np.zeros(3), 1.0, graph.to_undirected(), normalize=None), np.array([0.5, 0.0, 1.0]))
    np.testing.assert_allclose(both, [-2 * math.sin(0.5), 2 * math.sin(0.5), 0.0], atol=ROUNDING)


def test_parts_without_connection_know_nothing_of_each_other(rng):
    W = np.zeros((20, 20))
    W[:10, :10] = W[10:, 10:] = 1
    omega, theta = rng.normal(size=20), rng.uniform(-3, 3, 20)
    model = pa.Kuramoto(omega, 0.5, W, normalize=None)
    changed = theta.copy()
    changed[10:] = 0
    np.testing.assert_array_equal(one_step(model, theta)[:10], one_step(model, changed)[:10])


def test_no_edges_at_all(rng):
    omega, theta = rng.normal(size=9), rng.uniform(-3, 3, 9)
    for W in (np.zeros((9, 9)), sparse.csr_array((9, 9))):
        np.testing.assert_allclose(one_step(pa.Kuramoto(omega, 1.0, W), theta), omega, atol=ROUNDING)


def test_nan_stays_with_those_who_hear_it():
    """Padding reads a pair of zeros, and writes where nobody reads."""
    W = networks.from_edges(9, [0, 0, 3], [1, 2, 4])
    drive = _drive.Drive(
        pa.Kuramoto(np.zeros(9), 1.0, W), pa.dynamics._methods.method("euler"), dt=1.0, rtol=1, atol=1, seed=0
    )
    theta = np.zeros((1, 9))
    theta[0, 0] = np.nan
    saved = np.empty((1, 1, 9))
    times = np.array([1.0])
    list(drive.pieces(drive.start(theta, 0.0, times), 0.0, times, saved))
    np.testing.assert_array_equal(np.isnan(saved[0, 0]), np.isin(np.arange(9), [0, 1, 2]))


@pytest.mark.parametrize("near", [50_000, 1000])
def test_thread_count_changes_no_bit(rng, monkeypatch, near):
    monkeypatch.setattr(_slices, "NEAR", near)
    n = 5000
    W = sparse.random_array((n, n), density=0.002, rng=rng, format="csr")
    model, theta = pa.Kuramoto(rng.normal(size=n), 2.0, W), rng.uniform(-3, 3, n)
    one = one_step(model, theta)
    monkeypatch.setattr(_drive, "_TEAM_FROM", 10)
    np.testing.assert_array_equal(one_step(model, theta), one)


@pytest.mark.parametrize("cuts", [1, 2, 5])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("sizes", [[1], [7], [40, 3, 64], [2048, 100]], ids=str)
def test_slices_hold_every_edge_once(rng, sizes, weighted, cuts):
    n = sum(sizes)
    edges = np.concatenate([[0], np.cumsum(sizes)])
    degree = np.minimum(rng.geometric(0.1, n) * (rng.random(n) < 0.8), n)
    degree[0] = min(n, 300)
    columns = np.concatenate([rng.choice(n, d, replace=False) for d in degree])
    indptr = np.concatenate([[0], np.cumsum(degree)])
    values = rng.normal(size=len(columns)) if weighted else np.ones(len(columns))
    found = _slices.slices(indptr, columns.astype(np.int32), values if weighted else np.zeros(0), edges, cuts)
    np.testing.assert_array_equal(found.part, np.searchsorted(found.begins, edges[:-1], side="right") - 1)
    packed = len(found.heard) < found.starts[-1]
    assert packed or not len(columns)
    heard = found.heard.view(np.uint16) if packed else found.heard
    W = np.zeros((n + 1, n))
    for s in range(len(found.starts) - 1):
        part, block = divmod(np.searchsorted(found.first, s, side="right") - 1, len(sizes))
        for e in range(found.starts[s], found.starts[s + 1]):
            row, j = found.strands[4 * s + e % 4], heard[e]
            if j:
                assert edges[block] <= row < edges[block + 1]
                W[row, found.begins[part] + j - 1] += found.strength[e] if weighted else 1
            elif weighted:
                assert found.strength[e] == 0
    wanted = sparse.csr_array((values, columns, indptr), shape=(n, n)).toarray()
    np.testing.assert_array_equal(W, np.vstack([wanted, np.zeros(n)]))
    whole = found.strands[: 4 * found.first[len(sizes)]]
    np.testing.assert_array_equal(np.unique(whole[whole < n]), np.arange(n))  # the first range writes every row
    padding = len(heard) - len(columns)
    assert padding <= (4 * _slices.LONG + 3 * (found.first[-1] + 1)) * len(sizes) * cuts


def test_columns_are_cut_where_pairs_leave_the_cache(rng, monkeypatch):
    assert [_slices.ranges(n, 10 * n) for n in (1, 50_000, 50_001, 100_000, 10**6)] == [1, 1, 2, 2, 8]
    assert _slices.ranges(10**5, 0) == 1
    assert _slices.ranges(10**5, 2 * 10**5) == 1
    n = 9000
    for signed, packed in ((False, True), (True, True), (False, False), (True, False)):
        W = sparse.random_array((n, n), density=0.002, rng=rng, format="csr")
        W.data[:] = rng.normal(size=W.nnz) if signed else 1.0
        terms = {"harmonics": {3: (0.5, 0.2)}, "phase_lag": 0.3, "normalize": "degree"}
        omega, theta = rng.normal(size=n), rng.uniform(-3, 3, n)
        whole = one_step(pa.Kuramoto(omega, 2.0, W, **terms), theta)
        with monkeypatch.context() as patch:
            patch.setattr(_slices, "NEAR", 2500)
            patch.setattr(_slices, "FEW", 0.1)
            patch.setattr(_slices, "PACKED", _slices.PACKED if packed else 0)
            model = pa.Kuramoto(omega, 2.0, W, **terms)
            np.testing.assert_allclose(one_step(model, theta), whole, rtol=0, atol=ROUNDING)
            ready = _drive._READY[model].networks[0]
            assert len(ready.begins) == 4
            assert (len(ready.heard) < ready.starts[-1]) == packed


def test_ring():
    for n, reach in ((1, 0), (3, 1), (7, 3), (10, 2)):
        W = networks.ring(n, reach).toarray()
        wanted = [[float(0 < min((i - j) % n, (j - i) % n) <= reach) for j in range(n)] for i in range(n)]
        np.testing.assert_array_equal(W, wanted)
    for n, reach in ((4, 2), (1, 1), (0, 0), (5, -1), (5, 1.0), (True, 0)):
        with pytest.raises(ValueError, match="wanted"):
            networks.ring(n, reach)


@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (4, 3), (2, 3), (1, 4), (3, 2, 4)], ids=str)
def test_lattice(shape):
    for periodic in (True, False):
        for diagonal in (True, False):
            W = networks.lattice(shape, periodic=periodic, diagonal=diagonal)
            assert W.shape == (math.prod(shape),) * 2
            assert set(zip(*map(list, W.nonzero()), strict=True)) == naive.grid(shape, periodic, diagonal)
            assert (W.data == 1).all()


def test_refusals():
    for shape in ((), (0,), (3, -1), (2.0,)):
        with pytest.raises(ValueError, match="wanted"):
            networks.lattice(shape)
    with pytest.raises(ValueError, match="from 0 to 2"):
        networks.from_edges(3, [0, 3], [1, 1])
    with pytest.raises(TypeError, match="float64"):
        networks.from_edges(3, [0.0], [1])
    with pytest.raises(ValueError, match="lengths 1, 1 and 2"):
        networks.from_edges(3, [0], [1], [1.0, 2.0])
    assert networks.from_edges(3, [], []).nnz == 0


def test_twisted_state_of_a_ring():
    """theta_i = 2 pi q i / n is a fixed point of every ring of identical oscillators."""
    n, q = 60, 2
    theta = 2 * np.pi * q * np.arange(n) / n
    model = pa.Kuramoto(np.zeros(n), 1.0, networks.ring(n, 4), normalize="degree")
    np.testing.assert_allclose(one_step(model, theta), 0, atol=ROUNDING)


def test_edges_that_are_none_are_refused():
    with pytest.raises(ValueError, match="weight is nan at edge 1: finite numbers are wanted"):
        networks.from_edges(4, [0, 1], [1, 2], [1.0, np.nan])
    with pytest.raises(ValueError, match=r"source has shape \(1, 2\): one list"):
        networks.from_edges(4, [[0, 1]], [1, 2])
