"""Formulas: the compiled scalars, the derivatives by hand and what SymPy derives are one; proofs and their refusals."""

import doctest
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy

import primeattn as pa
from primeattn.attention import MECHANISMS, Fails, Formula, Holds, Property, Score
from primeattn.attention._cores.ratio import KINDS
from primeattn.dynamics import theory
from primeattn.study import symbolic
from primeattn.study.symbolic._derivation import Notebook
from primeattn.study.symbolic._scores import formula

SCORED = [name for name, mechanism in MECHANISMS.items() if mechanism.score is not None]
NAMES = [*SCORED, *symbolic.SCORES]
DOCS = Path(__file__).parent.parent / "docs"


def formulas(name):
    record = symbolic.score(name).record
    return {"weight": record.weight, **record.parts}


def drawn(part: Formula, count=25):
    """Arguments away from kinks, of both signs."""
    rng = np.random.default_rng(0)
    return rng.choice((-1, 1), (count, len(part.letters))) * rng.uniform(0.05, 2.5, (count, len(part.letters)))


@pytest.mark.parametrize("name", NAMES)
def test_the_compiled_scalars_compute_the_formulas(name):
    for part in formulas(name).values():
        expression, letters = formula(part)
        plain = sympy.lambdify(letters, expression, "numpy")
        slopes = {by: sympy.lambdify(letters, formula(part, by)[0], "numpy") for by in part.slopes}
        for values in drawn(part):
            # polynomials of the elementary functions and a few roundings, at numbers of size up to 20
            assert part.value(*values) == pytest.approx(float(plain(*values)), rel=1e-14, abs=1e-15)
            for by, (_, scalar) in part.slopes.items():
                assert scalar(*values) == pytest.approx(float(slopes[by](*values)), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("name", NAMES)
def test_sympy_derives_what_was_derived_by_hand(name):
    for part in formulas(name).values():
        expression, letters = formula(part)
        for by in part.slopes:
            at = next(letter for letter in letters if letter.name == by)
            assert sympy.simplify(sympy.diff(expression, at) - formula(part, by)[0]) == 0
    assert symbolic.derivation(name).holds


def test_every_registered_scalar_has_a_formula():
    covered = set()
    for name in SCORED:
        weight = MECHANISMS[name].score.weight
        for kind, (value, slope) in KINDS.items():
            # the record has no numbers of its own in any kind so far
            same = np.allclose(
                [value(kind(), z) for z in (-1.5, 0.3, 2.0)], [weight.value(z) for z in (-1.5, 0.3, 2.0)]
            )
            if same and np.isclose(slope(kind(), 0.7), weight.slopes["z"][1](0.7)):
                covered.add(kind)
    assert covered == {kind for kind in KINDS if kind.__module__.startswith("primeattn")}


def test_a_wrong_derivative_is_found():
    right = MECHANISMS["expressive"].score
    wrong = right._replace(slopes={**right.slopes, "q": "scale*q"})
    found = symbolic.derivation(wrong)
    assert found.verdict == "fails"
    assert [step.left for step in found if not step.holds] == [r"\partial z/\partial q"]
    assert "NOT 0" in str(found)
    assert "does not hold" in found._repr_markdown_()
    weight = Formula("z**2 / (1 + z**2)", ("z",), abs, {"z": ("2*z / (1 + z**2)", abs)})
    assert not symbolic.derivation(right._replace(weight=weight)).holds


@pytest.mark.parametrize("name", ["dot_product", "expressive", "linear", "squared", "elliptical", "uniform"])
def test_gradients_of_a_row_are_those_of_the_formula(name):
    """One query, two keys, width 2: SymPy's gradient of the whole, by numbers, is the hand-derived vjp."""
    found, rng = symbolic.score(name), np.random.default_rng(1)
    q, k, v, m = rng.normal(size=(1, 2)), rng.normal(size=(2, 2)), rng.normal(size=(2, 1)), np.array([0.4, 1.0])
    letters = {
        letter: [[sympy.Symbol(f"{letter}{i}{c}", real=True) for c in (0, 1)] for i in (0, 1)] for letter in "qk"
    }
    values = [sympy.Symbol(f"v{j}", real=True) for j in (0, 1)]
    shared = [sympy.Symbol(f"m{c}", positive=True) for c in (0, 1)]

    def z(j):
        total = sympy.S.Zero
        for c in (0, 1):
            given = {"q": letters["q"][0][c], "k": letters["k"][j][c], "m": shared[c], "scale": 1 / sympy.sqrt(2)}
            total += found.term.subs({found.letters[x]: given[x] for x in found.letters}, simultaneous=True)
        return total

    weights = [found.weight.subs(found.z, z(j)) for j in (0, 1)]
    square = sum(x**2 for x in letters["q"][0]) * sum(x**2 for row in letters["k"] for x in row) / 2
    eps = {"expressive": 1e-6, "squared": 1e-6 * square}.get(name, 0)
    y = sum(w * x for w, x in zip(weights, values, strict=True)) / (sum(weights) + eps)
    order = [*letters["q"][0], *letters["k"][0], *letters["k"][1], *values, *shared]
    at = [*q.ravel(), *k.ravel(), *v.ravel(), *m]
    inputs = {"q": q, "k": k, "v": v}
    if name == "uniform":
        out, pullback = pa.attention.vjp(name, v)
        upstream = np.array([[1.0], [0.0]])
    else:
        out, pullback = pa.attention.vjp(name, q, k, v, **({"relevance": m} if name == "elliptical" else {}))
        upstream = np.array([[1.0]])
    grads = pullback(upstream)
    assert float(sympy.lambdify(order, y)(*at)) == pytest.approx(float(out[0, 0]), abs=1e-12)
    derived = np.array(sympy.lambdify(order, [sympy.diff(y, x) for x in order])(*at), float)
    parts = dict(zip(("q", "k", "v", "relevance"), np.split(derived, [2, 6, 8]), strict=True))
    for argument, gradient in grads.items():
        shape = np.shape(inputs.get(argument, m))
        np.testing.assert_allclose(gradient, parts[argument].reshape(shape), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", SCORED)
def test_a_proof_agrees_with_the_claim(name):
    claim = MECHANISMS[name].properties[Property.PSD]
    proof = symbolic.prove_psd(name)
    assert proof.holds
    if name == "uniform":  # its claim is another: there are no queries and keys
        assert proof.verdict == "holds"
    else:
        assert proof.verdict == {Holds: "holds", Fails: "fails"}[type(claim)]


def test_the_published_resonance_is_refuted_in_exact_numbers():
    proof = symbolic.prove_psd("resonance:original")
    assert (proof.verdict, proof.holds) == ("fails", True)
    averaging, absolute = (step.right for step in proof if step.left == r"\lambda")
    assert averaging == 1 - sympy.Rational(835, 1000) * sympy.sqrt(2)
    assert float(averaging) == pytest.approx(-0.181, abs=5e-4)
    assert float(absolute) == pytest.approx(-0.137, abs=5e-4)
    assert symbolic.prove_psd("resonance:kernel").verdict == "holds"


def toy(weight, term="scale*q*k", **more):
    part = Formula(weight, ("z",), abs, {})
    return Score(part, term, {}, sides=(("q", "k"), ("phi", "psi")), constants={"scale": "a number"}, **more)


@pytest.mark.parametrize(
    ("record", "verdict"),
    [
        (toy("1 + z + z**2/2"), "holds"),
        (toy("cosh(z)"), "open"),  # true, but SymPy does not see the sign of the law that it finds
        (toy("1/(2 - z)"), "holds"),
        (toy("log(1 + z**2)"), "fails"),
        (toy("sin(z)"), "fails"),
        (toy("z - z**2"), "fails"),
        (toy("exp(z)", "scale*cos(phi - psi)"), "holds"),
        (toy("exp(z)", "scale*cos(phi + psi)"), "open"),
        (toy("exp(z)", "scale*Abs(q*k)*q"), "open"),
        (toy("exp(z)", "-scale*q*k"), "open"),
        (toy("exp(z)", "q*psi"), "open"),
        (toy("z", "q*k + scale*(q*k)**3"), "holds"),
        (toy("z", "q*k - (q*k)**3"), "open"),
        (toy("z", "scale*d**3", kernels={"d": "given"}), "holds"),
        (toy("-1", "0"), "fails"),
    ],
)
def test_rules_prove_what_is_true_and_nothing_else(record, verdict):
    assert symbolic.prove_psd(record).verdict == verdict


def test_coefficients():
    z = sympy.Symbol("z", real=True)
    k = sympy.Symbol("k", integer=True, nonnegative=True)
    exponential = symbolic.coefficients(sympy.exp(z), z)
    assert sympy.simplify(exponential.law - 1 / sympy.factorial(k)) == 0
    assert exponential.first[:4] == (1, 1, sympy.Rational(1, 2), sympy.Rational(1, 6))
    expressive = symbolic.coefficients(z**2 / (1 + z**2), z)
    assert expressive.first[:7] == (0, 0, 1, 0, -1, 0, 1)
    assert (expressive.negative, expressive.nonnegative) == (4, False)
    assert symbolic.coefficients(z**2, z) == ((0, 0, 1), None, None, True)
    assert symbolic.coefficients(sympy.exp(z) * sympy.exp(z**3), z).nonnegative is None  # true, but not shown


def test_a_score_says_what_it_can():
    found = symbolic.score("expressive")
    assert str(found.series(8)) == "z**2 - z**4 + z**6 + O(z**8)"
    assert found.limit() == 1
    assert sympy.simplify(sympy.diff(found.primitive(), found.z) - found.weight) == 0
    np.testing.assert_allclose(found.numeric()(np.array([0.0, 1.0, 2.0])), [0, 0.5, 0.8])
    np.testing.assert_allclose(symbolic.score("uniform").numeric()(np.zeros(3)), 1)
    assert found._repr_latex_().startswith("$f(z) = \\frac{z^{2}}{z^{2} + 1}")
    assert found.derivative("q") == found.letters["k"] * found.letters["scale"]
    with pytest.raises(ValueError, match="by is 'x': one of 'z', 'q', 'k', 'scale' is wanted"):
        found.derivative("x")


def test_refusals_say_what_to_do():
    with pytest.raises(ValueError, match=r"name is 'softmax': one of 'dot_product', .* 'resonance:kernel' is wanted"):
        symbolic.score("softmax")
    with pytest.raises(ValueError, match="position_only has no score: its weights do not depend on queries and keys"):
        symbolic.score("position_only")
    for number in (1, "x", None, 3.5):
        with pytest.raises(ValueError, match=f"oscillators is {number!r}: an integer, 2 or more, is wanted"):
            symbolic.kuramoto_jacobian(number)
        with pytest.raises(ValueError, match=f"tokens is {number!r}: an integer, 2 or more, is wanted"):
            symbolic.attention_synchrony(number)
    assert symbolic.derivation("position_only").holds


def test_the_jacobian_is_that_of_dynamics(rng):
    model = symbolic.kuramoto_jacobian(4)
    assert model.derivation.holds
    theta = rng.uniform(-3, 3, 4)
    expected = pa.dynamics.analysis.jacobian(pa.Kuramoto(np.zeros(4), 1.3, phase_lag=0.4), theta).toarray()
    np.testing.assert_allclose(model.numeric()(theta, 1.3, 0.4), expected, atol=1e-14)


def test_the_reduction_of_ott_and_antonsen():
    steps = symbolic.ott_antonsen()
    assert steps.holds
    assert len(steps) == 11
    critical = next(step.right for step in steps if "critical" in step.says)
    k, lag, gamma = sorted(critical.free_symbols, key=str)
    assert sympy.solve(critical.subs(lag, 0), k) == [2 * gamma]


def test_the_chimera_of_two_populations():
    pair = symbolic.two_populations()
    assert pair.derivation.holds
    r, psi, eigenvalues = pair.chimera(0.2, 0.1, (0.7, -0.2))
    assert (round(float(r), 5), round(float(psi), 5)) == (0.72915, -0.20941)
    assert complex(eigenvalues[0]) == pytest.approx(-0.0145 + 0.1022j, abs=6e-5)
    known = [state for state in theory.chimera_states(0.2, 0.1) if abs(state.r - 0.72915) < 1e-4]
    assert len(known) == 1
    assert float(r) == pytest.approx(known[0].r, abs=1e-10)
    np.testing.assert_allclose(np.sort_complex(known[0].eigenvalues), np.sort_complex(np.array(eigenvalues, complex)))
    _, _, hopf = pair.hopf(0.1, (0.6, -0.2, 0.27))
    assert round(float(hopf), 5) == 0.27778
    np.testing.assert_allclose(pair.numeric()(float(r), float(psi), 0.2, 0.1), 0, atol=1e-14)


def test_attention_near_synchrony():
    assert symbolic.attention_synchrony(3).holds
    assert symbolic.attention_synchrony(2).steps[-1].right == [0, sympy.Rational(-1, 2)]


def test_a_derivation_reads_as_text_and_as_markdown():
    book = Notebook("one")
    book.define("first", "a", r"\text{as it is}")
    book.derive("second", "b", sympy.Symbol("x") * 2, sympy.Symbol("x") + sympy.Symbol("x"))
    done = book.done()
    assert str(done).splitlines()[0] == "one: holds"
    assert "$$\na = \\text{as it is}\n$$" in done._repr_markdown_()
    assert len(done) == 2
    with pytest.raises(ValueError, match="zip"):  # matrices of two shapes are no pair
        book.derive("third", "c", sympy.eye(2), sympy.eye(3))


def test_sympy_is_imported_when_a_formula_is_asked_for():
    code = "import sys, primeattn.study as s; a = 'sympy' in sys.modules; s.symbolic; print(a, 'sympy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["False", "True"]


def test_public_names_have_examples_that_run():
    failures, tried = 0, 0
    for name in symbolic.__all__:
        value = getattr(symbolic, name)
        for test in doctest.DocTestFinder(recurse=True).find(value, name, globs={}):
            failures += doctest.DocTestRunner().run(test).failed
            tried += bool(test.examples)
        if callable(value) and not isinstance(value, type):
            assert "Examples\n" in value.__doc__, name
    assert (failures, tried) == (0, 9)


@pytest.mark.parametrize("page", sorted(p.name for p in (DOCS / "theory").glob("*.md") if ">>> " in p.read_text()))
def test_the_lines_of_a_theory_page_are_what_they_say(page):
    test = doctest.DocTestParser().get_doctest(
        (DOCS / "theory" / page).read_text("utf-8").replace("```", ""), {}, page, page, 0
    )
    assert test.examples
    assert doctest.DocTestRunner().run(test).failed == 0


def test_every_mechanism_has_a_page_that_sympy_checks():
    pages = {"linear": "linear_attention", "kuramoto": "kuramoto_attention", "resonant": "attention_resonant"}
    for name in MECHANISMS:
        text = (DOCS / "theory" / f"{pages.get(name, name)}.md").read_text("utf-8")
        assert f'"{name}"' in text.partition("## Checked by SymPy")[2], name
        assert re.search(r"## (Where it fails|What holds)", text), name
