"""The property table: what theory says of each mechanism comes out computed, every "no" with its witness."""

import inspect
from pathlib import Path

import numpy as np
import pytest

import primeattn as pa
from primeattn.attention import MECHANISMS, DoesNotApply, Fails, Holds, Property, violation
from primeattn.study import _derivatives as derivatives
from primeattn.study import _tables as tables
from primeattn.study._gram import balanced, weights_of, with_unit_diagonal
from primeattn.study._subjects import STATE_KERNELS, SUBJECTS

SOME = ["dot_product", "expressive", "squared", "position_only"]


@pytest.fixture(scope="module")
def table():
    return pa.study.properties(timing=False, sets=3)


@pytest.fixture(scope="module")
def some():
    return pa.study.properties([*SOME, "elliptical"], sets=3)


def test_every_mechanism_and_both_kernels_have_a_row(table):
    assert table.mechanism.values.tolist() == list(SUBJECTS)
    assert set(MECHANISMS) < set(SUBJECTS)
    assert table.property.values.tolist() == [p.name for p in Property]


def test_every_claim_comes_out(table):
    says = {Holds: "holds", Fails: "fails", DoesNotApply: "does not apply"}
    for name, which in SUBJECTS.items():
        for prop, claim in which.properties.items():
            cell = table.sel(mechanism=name, property=prop.name)
            assert cell.verdict == says[type(claim)]
            assert len(str(cell.why.values)) >= 5
            if isinstance(claim, Fails):  # every "no" with its witness, far above rounding
                assert str(cell.witness.values)
                assert float(cell.violation) > 1e-4
            elif isinstance(claim, Holds):
                assert float(cell.violation) < 1e-12
                assert int(cell.tested) == 3


def test_the_page_shows_the_table(table):
    """docs/theory/study.md, as computed."""
    page = (Path(__file__).parent.parent / "docs" / "theory" / "study.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    shown = {row[0]: row[1:] for row in rows if len(row) == 11 and set(row[1:]) <= {"yes", "**no**", "-"}}
    marks = {"holds": "yes", "fails": "**no**", "does not apply": "-"}
    computed = {str(n): [marks[v] for v in table.verdict.sel(mechanism=n).values] for n in table.mechanism.values}
    assert shown == computed


def test_rank_of_the_square():
    """(q . k)^2 is a dot product of d (d + 1) / 2 features."""
    for width in (2, 3):
        x = np.random.default_rng(0).standard_normal((12, width))
        assert np.linalg.matrix_rank(pa.study.gram("squared", x)) == width * (width + 1) // 2


# the table of the specification: kernel symmetric, positive semi-definite, linear form, permutation
@pytest.mark.parametrize(
    ("name", "symmetric", "psd", "linear", "permutation"),
    [
        ("dot_product", "holds", "holds", "fails", "holds"),
        ("expressive", "holds", "fails", "fails", "holds"),
        ("squared", "holds", "holds", "holds", "holds"),
        ("elliptical", "holds", "holds", "fails", "holds"),
        ("position_only", "does not apply", "does not apply", "does not apply", "fails"),
    ],
)
def test_the_table_of_theory(some, name, symmetric, psd, linear, permutation):
    names = ["SYMMETRIC", "PSD", "EXACT_LINEAR_FORM", "PERMUTATION_EQUIVARIANT"]
    found = some.verdict.sel(mechanism=name, property=names).values.tolist()
    assert found == [symmetric, psd, linear, permutation]


def test_witnesses_against_psd_are_proofs(table):
    for name in ("expressive", "resonance:original"):
        says = str(table.witness.sel(mechanism=name, property="PSD").values)
        assert "c^T K c = -" in says
        assert says.endswith("(exact)")


def test_signs_of_smallest_eigenvalues(table):
    verdicts = dict(zip(table.mechanism.values.tolist(), table.gram_verdict.values.tolist(), strict=True))
    assert verdicts["dot_product"] == "positive"  # strictly: points are distinct
    assert verdicts["expressive"] == verdicts["resonance:original"] == "negative"
    assert verdicts["position_only"] == ""
    for name, which in SUBJECTS.items():
        if isinstance(which.properties[Property.PSD], Holds):
            assert verdicts[name] != "negative", name
    assert (table.gram_error.dropna("mechanism") < 1e-11).all()


def test_limits_of_scores(some):
    large = dict(zip(some.mechanism.values.tolist(), some.limit_large.values.tolist(), strict=True))
    assert large == {
        "dot_product": "one-hot",
        "expressive": "uniform",
        "squared": "scale free",
        "position_only": "",
        "elliptical": "one-hot",
    }
    small = some.limit_small.sel(mechanism=["dot_product", "squared"]).values.tolist()
    assert small == ["uniform", "scale free"]
    # entropy over log n at scores times 0.1, 1, 10, medians of 20 draws on the theory page; one draw: 0.03
    entropies = some.entropy_at.sel(factor=[0.1, 1, 10])
    np.testing.assert_allclose(entropies.sel(mechanism="dot_product"), [0.999, 0.891, 0.115], atol=0.03)
    np.testing.assert_allclose(entropies.sel(mechanism="expressive"), [0.833, 0.916, 0.988], atol=0.03)
    np.testing.assert_allclose(entropies.sel(mechanism="squared"), 0.829, atol=0.03)
    # for small scores the expressive kernel is the square
    rows = some.entropy_at.sel(factor=1e-3, mechanism=["expressive", "squared"]).values
    assert abs(rows[0] - rows[1]) < 1e-4


def test_lipschitz(some):
    says = dict(zip(some.mechanism.values.tolist(), some.lipschitz.values.tolist(), strict=True))
    assert "large scores" in says["dot_product"]
    assert "large scores" in says["elliptical"]
    assert "small scores" in says["expressive"]  # singular where all scores are 0
    assert "small scores" in says["squared"]
    assert says["position_only"] == "linear in its inputs"
    # there the Jacobian is alpha times the identity: its norm is that of alpha
    drawn = MECHANISMS["position_only"].sample(
        np.random.default_rng(int(some.attrs["seed_of_samples"])), batch=(), heads=1, tokens=64, width=16
    )
    expected = np.linalg.norm(drawn.options["alpha"][0], 2)
    found = float(some.jacobian_at.sel(mechanism="position_only", factor=1))
    assert expected * 0.99 < found <= expected * (1 + 1e-12)  # power iteration comes from below


def test_ranks_of_causal_tables(some):
    """Effective rank 30.6, 30.8, 33.0 and sigma_1 / sigma_2 1.42, 1.56, 1.47 were measured; draws differ by a fifth.

    Without a causal mask the ratios are 2.3, 4.9 and 2.6.
    """
    three = some.sel(mechanism=["dot_product", "expressive", "squared"])
    np.testing.assert_allclose(three.effective_rank_causal, [30.6, 30.8, 33.0], atol=3)
    np.testing.assert_allclose(three.singular_ratio_causal, [1.42, 1.56, 1.47], atol=0.4)
    assert "causal" in some.spectral_gap_causal.attrs["warning"]


def test_depth_makes_tokens_uniform(some):
    """Doubly exponential without residual connections (Dong et al.): each layer at least as fast as the one before."""
    for name in ("dot_product", "expressive", "squared", "elliptical"):
        left = some.uniformity.sel(mechanism=name).values
        assert left[6] < 1e-3 < left[0], name
        at = left[left > 1e-12]
        rate = at[1:] / at[:-1]
        assert (np.diff(rate[1:]) < 0.05).all(), name
        assert float(some.cosine.sel(mechanism=name, depth=12)) > 1 - 1e-9


def test_two_programs_agree_on_the_jacobian(table):
    assert float(table.adjoint_error.max()) < 1e-12


def test_order(some):
    """Without mask tokens may be reordered; a causal mask tells."""
    for name in ("dot_product", "expressive", "squared", "elliptical"):
        assert float(some.order_sensitivity.sel(mechanism=name)) < 1e-12
        assert float(some.order_sensitivity_causal.sel(mechanism=name)) > 0.1
    assert float(some.order_sensitivity.sel(mechanism="position_only")) > 0.1


def test_cost_is_measured_on_demand(some, table):
    assert (some.seconds_forward > 0).all()
    assert (some.seconds_gradient > some.seconds_forward * 0.5).all()
    assert (some.peak_bytes > 64 * 16 * 8).all()  # at least the output
    assert table.seconds_forward.isnull().all()


def test_same_seed_same_table():
    first, second = (pa.study.properties("squared", rng=3, timing=False, sets=2) for _ in range(2))
    assert first.identical(second)
    alone = pa.study.properties(["dot_product", "squared"], rng=3, timing=False, sets=2).sel(mechanism=["squared"])
    assert float(alone.jacobian_norm[0, 0]) == float(first.jacobian_norm[0, 0])  # no measure depends on another's draws


def test_inputs_of_ones_own(rng):
    x = rng.standard_normal((12, 4)).astype(np.float32)[:, ::-1]  # not contiguous, float32
    x.flags.writeable = False
    found = pa.study.properties(["dot_product", "resonance:kernel"], x, timing=False, sets=1)
    assert found.attrs["inputs"] == "given"
    table = np.exp(x.astype(float) @ x.T / 2)
    root = np.sqrt(table.sum(axis=1))
    expected = np.linalg.eigvalsh(table / root[:, None] / root)
    assert abs(float(found.gram_smallest[0]) - expected[0]) < 1e-12
    states = pa.PrimeStates.random(9, 3, n_primes=8, rng=0)
    found = pa.study.properties(list(STATE_KERNELS), states, timing=False, sets=1)
    assert found.gram_verdict.values.tolist()[1] == "positive"
    assert found.attrs["shape"] == "(9,)"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("softmax",), ValueError, "'softmax' is no mechanism: one of 'dot_product'"),
        (([],), ValueError, "mechanisms is empty"),
        ((3,), TypeError, "mechanisms is 3"),
        (("squared", [[1.0, 2.0]]), ValueError, "1 tokens: at least 2"),
        (("squared", [1.0, 2.0]), ValueError, r"shape \(2,\): \(tokens, width\) is wanted"),
        (("squared", [[1.0], [np.nan]]), ValueError, "NaN or infinity, first in token 1"),
        (("squared", np.zeros((3, 0))), ValueError, "width"),
        (("squared", [["a"], ["b"]]), TypeError, "real numbers"),
        (("squared", [[1j], [2]]), TypeError, "real numbers"),
        (("squared", pa.PrimeStates.from_dicts([{2: 1}, {3: 1}])), TypeError, "squared takes vectors"),
        (("resonance:original", pa.PrimeStates.from_dicts([{2: 1}])), ValueError, "1 states: at least 2"),
    ],
)
def test_inputs_that_leave_a_property_undefined_are_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        pa.study.properties(*arguments, timing=False)


def test_counts_that_are_none_are_refused():
    with pytest.raises(ValueError, match="sets is 0"):
        pa.study.properties("squared", sets=0)


def test_a_false_claim_is_found_out():
    squared = MECHANISMS["squared"]
    wrong = squared._replace(properties={**squared.properties, Property.KEY_SHIFT_INVARIANT: Holds("not at all")})
    with pytest.raises(ArithmeticError, match="claims that KEY_SHIFT_INVARIANT holds"):
        pa.study.properties(wrong, timing=False, sets=2)
    claim = squared.properties[Property.BOUNDED]._replace(by=5.0)
    wrong = squared._replace(properties={**squared.properties, Property.BOUNDED: claim})
    with pytest.raises(ArithmeticError, match="fails by 5, its witness shows"):
        pa.study.properties(wrong, timing=False, sets=2)


def test_claims_of_the_kernels_between_states():
    for which in STATE_KERNELS.values():
        assert set(which.properties) == set(Property)
        for prop, claim in which.properties.items():
            if isinstance(claim, Fails):
                assert violation(prop, which, claim.witness()) >= claim.by
        with pytest.raises(TypeError, match=r"resonance\.vjp"):
            which.vjp()


# the kernel behind weights


def test_kernels_from_weights(rng):
    kernel = rng.uniform(0.5, 1, (6, 6))
    kernel = kernel + kernel.T
    weights = kernel / kernel.sum(axis=1, keepdims=True)
    root = np.sqrt(kernel.sum(axis=1))
    np.testing.assert_allclose(balanced(weights), kernel / root[:, None] / root, rtol=1e-14)
    np.testing.assert_allclose(
        np.linalg.eigvalsh(balanced(weights)), np.sort(np.linalg.eigvals(weights).real), atol=1e-14
    )
    unit = np.sqrt(np.diag(kernel))
    np.testing.assert_allclose(with_unit_diagonal(weights), kernel / unit[:, None] / unit, rtol=1e-14)
    signed = np.array([[1.0, -2], [-2, 1]])
    np.testing.assert_allclose(with_unit_diagonal(signed / 3), signed, rtol=1e-15)
    nothing = with_unit_diagonal(np.array([[0.0, 0], [0, 1]]))
    assert nothing.tolist() == [[0, 0], [0, 1]]


def test_gram_is_what_scikit_learn_takes(rng):
    a, b = rng.standard_normal((7, 3)), rng.standard_normal((4, 3))
    expected = np.exp(-((a[:, None] - b) ** 2).sum(axis=-1) / 2 / np.sqrt(3))
    np.testing.assert_allclose(pa.study.gram("dot_product", a, b), expected, rtol=1e-12)
    own = pa.study.gram("dot_product", a)
    np.testing.assert_array_equal(own, own.T)
    np.testing.assert_allclose(pa.study.gram("dot_product", a, a), own, rtol=1e-12)
    np.testing.assert_allclose(pa.study.gram(lambda x, y: x @ y.T, a, b), a @ b.T)
    s = pa.PrimeStates.random(6, 3, n_primes=9, rng=0)
    np.testing.assert_array_equal(pa.study.gram("resonance:kernel", s, s[:2]), pa.resonance.matrix(s, s[:2]))
    np.testing.assert_array_equal(
        pa.study.gram("resonance:original", a), pa.resonance.matrix(pa.PrimeStates.from_dense(a), kind="original")
    )


@pytest.mark.parametrize("kernel", ["dot_product", "resonance:kernel"])
def test_scikit_learn(rng, kernel):
    svm = pytest.importorskip("sklearn.svm")
    centres = np.array([[3.0, 0.1, 0.2], [0.1, 0.2, 3.0]])
    x = np.repeat(centres, 20, axis=0) + 0.3 * rng.standard_normal((40, 3))
    y = np.repeat([0, 1], 20)
    train, test = np.arange(0, 40, 2), np.arange(1, 40, 2)
    points = pa.PrimeStates.from_dense(x, k=1) if kernel.startswith("resonance") else x
    machine = svm.SVC(kernel="precomputed").fit(pa.study.gram(kernel, points[train]), y[train])
    assert machine.score(pa.study.gram(kernel, points[test], points[train]), y[test]) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (("position_only", [[1.0]]), ValueError, "position_only has no kernel: weights depend on positions"),
        (("squared", [[1.0]], [[1.0, 2.0]]), ValueError, "a has width 1 but b has 2"),
        (("squared", [[1.0]], pa.PrimeStates.from_dicts([{2: 1}])), TypeError, "two of a kind"),
        ((lambda a, b: np.zeros(3), [[1.0]]), ValueError, r"the kernel gave shape \(3,\) for batches of 1 and 1"),
    ],
)
def test_what_has_no_gram_is_refused(arguments, error, says):
    with pytest.raises(error, match=says):
        pa.study.gram(*arguments)


# numbers about a table


def test_entropy_and_ranks_of_known_tables():
    n = 8
    uniform, identity = np.full((n, n), 1 / n), np.eye(n)
    np.testing.assert_allclose(tables.entropy(uniform), np.log(n))
    np.testing.assert_allclose(tables.entropy(identity), 0, atol=1e-15)
    assert np.isnan(tables.entropy(np.zeros((1, 3)))).all()
    for measure, of_uniform, of_identity in (
        (tables.effective_rank, 1, n),
        (tables.stable_rank, 1, n),
        (tables.spectral_gap, 1, 0),
        (tables.dobrushin, 0, 1),
    ):
        assert measure(uniform) == pytest.approx(of_uniform, abs=1e-6)  # singular values of 1e-16 count
        assert measure(identity) == pytest.approx(of_identity)
    assert tables.singular_ratio(identity) == 1
    assert tables.singular_ratio(np.ones((1, 1))) == np.inf
    assert tables.stable_rank(np.zeros((2, 2))) == 0
    assert tables.spectral_gap(np.array([[0.9, 0.1], [0.2, 0.8]])) == pytest.approx(0.3)


def test_entropy_bound_holds_and_is_sharp(rng):
    """Equality for one score above equal others, in one row; it holds for any scores."""
    n = 6
    for size in (0.1, 1.0, 4.0):
        scores = size * rng.standard_normal((n, n))
        weights = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        assert tables.entropy_bound(weights) <= tables.entropy(weights).min() + 1e-12
        row = np.exp(size * np.eye(n)[:1])
        row /= row.sum()
        assert tables.entropy_bound(row) == pytest.approx(tables.entropy(row)[0])
    assert np.isnan(tables.entropy_bound(np.eye(2)))


def test_tokens(rng):
    same = np.ones((4, 3))
    assert tables.residual(same) == 0
    assert tables.mean_cosine(same) == pytest.approx(1)
    assert tables.mean_cosine(np.eye(3)) == pytest.approx(0)
    x = rng.standard_normal((5, 3))
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = (unit @ unit.T)[~np.eye(5, dtype=bool)].mean()
    assert tables.mean_cosine(x) == pytest.approx(expected)


# derivatives


@pytest.mark.parametrize("name", ["dot_product", "expressive"])
def test_jacobian_norm_against_the_whole_jacobian(name):
    which = MECHANISMS[name]
    sample = which.sample(np.random.default_rng(0), batch=(), heads=1, tokens=3, width=2)
    sizes = [x.size for x in sample.inputs]
    columns = []
    for i, x in enumerate(sample.inputs):
        for at in np.ndindex(x.shape):
            w = [np.zeros_like(y) for y in sample.inputs]
            w[i][at] = 1
            columns.append(derivatives.pushforward(which, sample, w).reshape(-1))
    jacobian = np.array(columns).T
    assert jacobian.shape == (6, sum(sizes))
    # J^T from the pullback, row by row: another program
    out, gradients = derivatives.pullback_of(which, sample)
    rows = []
    for at in np.ndindex(out.shape):
        u = np.zeros_like(out)
        u[at] = 1
        rows.append(np.concatenate([g.reshape(-1) for g in gradients(u)]))
    np.testing.assert_allclose(jacobian, np.array(rows), atol=1e-13)
    expected = np.linalg.norm(jacobian, 2)
    found = derivatives.jacobian_norm(which, sample, np.random.default_rng(1), steps=500, tol=1e-10)
    assert found == pytest.approx(expected, rel=1e-6)


def test_weights_are_taken_as_they_come():
    which = MECHANISMS["dot_product"]
    sample = which.sample(np.random.default_rng(0), batch=(2,), heads=3, tokens=4, width=2)
    assert weights_of(which, sample).shape == (6, 4, 4)


def test_signature_of_samples():
    """The table calls ``sample`` and ``of_vectors`` of any mechanism with these, and nothing else."""
    for which in SUBJECTS.values():
        if which.name not in STATE_KERNELS:
            assert {"batch", "heads", "tokens", "width"} <= set(inspect.signature(which.sample).parameters)


@pytest.mark.cudasim
def test_cuda_arrays_are_refused():
    x = pa.to_device(np.ones((3, 2)))
    with pytest.raises(TypeError, match=r"pa\.to_host"):
        pa.study.properties("squared", x)
    with pytest.raises(TypeError, match=r"pa\.to_host"):
        pa.study.certify(x)


def test_a_drawn_study_has_the_tokens_and_the_seed_that_were_asked():
    table = pa.study.properties("uniform", rng=7, sets=1, tokens=5, timing=False)
    assert (table.attrs["seed"], table.attrs["shape"]) == ("7", "(5, 16)")
    assert table.effective_rank.item() < 5.5
    with pytest.raises(ValueError, match="tokens is 1: an integer, 2 or more, is wanted"):
        pa.study.properties("uniform", tokens=1)


def test_the_witness_of_a_shift_names_the_shift():
    table = pa.study.properties("squared", sets=1, timing=False).sel(
        mechanism="squared", property="KEY_SHIFT_INVARIANT"
    )
    assert table.witness.item() == "q = [[1]], k = [[0]], v = [[0]], k + [-1]"
