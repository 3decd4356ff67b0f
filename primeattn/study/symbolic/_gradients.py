"""The gradients of a mechanism, step by step, each beside the formula in its docstring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sympy

from ...attention import Formula, Mechanism
from ._derivation import Derivation, Notebook
from ._scores import ScalarScore, formula, score

# what a row is made of, and the letters that steps are shown in
_V, _S, _R, _EPS = sympy.symbols("v S R epsilon", real=True)
_OUT, _TOTAL, _SHARE = sympy.symbols("y r p", real=True)
_SLOPE = sympy.Symbol("f'")


def derivation(name: str | Any) -> Derivation:
    r"""The gradients of attention by a score, derived by SymPy and compared with the formulas by hand.

    Parameters
    ----------
    name : str, Mechanism or Score
        As in `score`; "position_only", which has no score, has derivatives by its table.

    Returns
    -------
    Derivation
        The right side of every step is the formula by hand; a step holds if SymPy derives the same.

    Raises
    ------
    ValueError
        As `score`.

    Notes
    -----
    One key of a row stands for all: the others enter the output y of the row only through two numbers,
    :math:`S = \sum_{l \ne j} f(z_l) v_l` and :math:`R = \sum_{l \ne j} f(z_l)`. So the steps hold for any number of
    keys.

    Examples
    --------
    >>> from primeattn.study import symbolic
    >>> steps = symbolic.derivation("expressive")
    >>> steps.holds
    True
    >>> print(steps.steps[3].says, steps.steps[3].latex)
    the derivative of the weight f'(z) = \frac{2 z}{\left(z^{2} + 1\right)^{2}}
    """
    label = name.name if isinstance(name, Mechanism) else name if isinstance(name, str) else "score"
    book = Notebook(f"{label}: gradients")
    if label == "position_only":
        _table(book)
        return book.done()
    found = score(name)
    _row(found, book)
    for letter, by_hand in found.slopes.items():
        left = rf"\partial z/\partial {sympy.latex(found.letters[letter])}"
        book.derive(f"the derivative of the score by {letter}", left, found.derivative(letter), by_hand)
    for call, part in found.record.parts.items():
        _part(call, part, book)
    if found.name in _MORE:
        _MORE[found.name](found, book)
    return book.done()


def _row(found: ScalarScore, book: Notebook) -> None:
    """y, and what one score and one value change in it."""
    z, f = found.z, sympy.Function("f")(found.z)
    total = f + _R + _EPS
    y = (f * _V + _S) / total
    book.define("a row, with one of its keys; the others are in S and R", "y", y)
    by_hand = sympy.diff(f, z) * (_V - y) / total
    left = r"\partial y/\partial z"
    book.derive("its derivative by the score", left, sympy.diff(y, z), by_hand, _SLOPE * (_V - _OUT) / _TOTAL)
    book.derive("its derivative by the value", r"\partial y/\partial v", sympy.diff(y, _V), f / total, _SHARE)
    slope = sympy.sympify(found.record.weight.slopes["z"][0], locals={"z": z})
    book.derive("the derivative of the weight", "f'(z)", sympy.diff(found.weight, z), slope)
    if found.weight != 0 and sympy.simplify(sympy.diff(found.weight, z) - found.weight) == 0:
        row = y.subs(_EPS, 0).subs(f, found.weight)
        by_hand = (found.weight / (found.weight + _R)) * (_V - row)
        says = "f' = f: of softmax the weights are enough"
        book.derive(says, left, sympy.diff(row, z), by_hand, _SHARE * (_V - _OUT))
    book.derive(
        "its derivative by eps", r"\partial y/\partial\epsilon", sympy.diff(y, _EPS), -y / total, -_OUT / _TOTAL
    )


def _part(call: str, part: Formula, book: Notebook) -> None:
    expression, letters = formula(part)
    for letter in part.slopes:
        at = next(symbol for symbol in letters if symbol.name == letter)
        left = rf"\partial\,\mathrm{{{call}}}/\partial {sympy.latex(at)}"
        book.derive(f"the derivative of {call}", left, sympy.diff(expression, at), formula(part, letter)[0])


def _expressive(found: ScalarScore, book: Notebook) -> None:
    z = found.z
    slope = sympy.diff(found.weight, z)
    steepest = 1 / sympy.sqrt(3)
    book.derive("f is steepest where", "f''(1/\\sqrt 3)", sympy.diff(slope, z).subs(z, steepest), sympy.S.Zero)
    book.derive("and as steep as", "f'(1/\\sqrt 3)", slope.subs(z, steepest), 3 * sympy.sqrt(3) / 8)
    book.derive("a long score teaches nothing", r"\lim z^3 f'", sympy.limit(slope * z**3, z, sympy.oo), sympy.S(2))


def _squared(found: ScalarScore, book: Notebook) -> None:
    """eps of squared attention grows with the query and the keys."""
    q, k, n, eps, scale = sympy.symbols("q k N epsilon alpha", positive=True)
    rest = eps * scale**2 * q**2 * (k**2 + n)
    by_q, by_k = 2 * eps * scale**2 * q * (k**2 + n), 2 * eps * scale**2 * q**2 * k
    book.define("the share of eps, N the squares of the other keys", r"\epsilon_i", rest)
    book.derive("its derivative by q", r"\partial\epsilon_i/\partial q", sympy.diff(rest, q), by_q)
    book.derive("its derivative by k", r"\partial\epsilon_i/\partial k", sympy.diff(rest, k), by_k)


def _elliptical(found: ScalarScore, book: Notebook) -> None:
    """The other metric."""
    q, k, m, scale = sympy.symbols("q k m scale", real=True)
    term = -scale * m * (q - k) ** 2 / 2
    book.define("metric distance", "z", term)
    for letter, by_hand in ((q, -scale * m * (q - k)), (k, scale * m * (q - k)), (m, -scale * (q - k) ** 2 / 2)):
        book.derive(f"the derivative by {letter}", rf"\partial z/\partial {letter}", sympy.diff(term, letter), by_hand)
    says = "both metrics differ by what the row shares and a bias of the key"
    book.derive(says, "z", sympy.expand(term), scale * m * (q * k - k**2 / 2 - q**2 / 2))


def _eigen(found: ScalarScore, book: Notebook) -> None:
    """One column of a basis, two coordinates: a = B'q and b = B'k."""
    q, k, basis = (sympy.Matrix(sympy.symbols(f"{name}_1 {name}_2", real=True)) for name in "qkB")
    scale = sympy.Symbol("scale", positive=True)
    z = scale * (basis.dot(q)) * (basis.dot(k))
    book.define("one direction of the basis", "z", z)
    both = scale * (q * basis.dot(k) + k * basis.dot(q))
    by_basis = sympy.Matrix([sympy.diff(z, b) for b in basis])
    book.derive("by the basis, which serves both sides", r"\partial z/\partial B", by_basis, both)
    by_query = sympy.Matrix([sympy.diff(z, b) for b in q])
    book.derive("by the query", r"\partial z/\partial q", by_query, scale * basis * basis.dot(k))


def _kuramoto(found: ScalarScore, book: Notebook) -> None:
    """The step along the torus: delta = eta Im(exp(-i theta) M), M = M^c + i M^s."""
    theta, eta, c, s = sympy.symbols("theta eta M^c M^s", real=True)
    p, q = sympy.symbols("p q", real=True)
    moved = eta * sympy.im(sympy.exp(-sympy.I * theta) * (c + sympy.I * s))
    by_hand = eta * (sympy.cos(theta) * s - sympy.sin(theta) * c)
    book.derive("the step", r"\delta", sympy.expand_complex(moved), by_hand)
    pull = -eta * (sympy.cos(theta) * c + sympy.sin(theta) * s)
    left = r"\partial\delta/\partial"
    book.derive("by the phase of the token", rf"{left}\theta", sympy.diff(by_hand, theta), pull)
    book.derive("by the mean cosine", f"{left} M^c", sympy.diff(by_hand, c), -eta * sympy.sin(theta))
    book.derive("by the mean sine", f"{left} M^s", sympy.diff(by_hand, s), eta * sympy.cos(theta))
    real, imag = sympy.symbols("kappa_r kappa_i", real=True)
    k = sympy.Symbol("k", integer=True, positive=True)
    turned = sympy.exp(-sympy.I * k * theta) * (c + sympy.I * s)
    frustrated = sympy.expand_complex(sympy.im((real + sympy.I * imag) * turned))
    inner = {
        p: sympy.cos(k * theta) * c + sympy.sin(k * theta) * s,
        q: sympy.cos(k * theta) * s - sympy.sin(k * theta) * c,
    }
    shown = real * q + imag * p
    book.derive("a harmonic with a complex coupling", r"\delta_k", frustrated, shown.subs(inner), shown)
    shown = k * (imag * q - real * p)
    says = "by the phase of the token, p + i q = exp(-i k theta) M"
    book.derive(says, r"\partial\delta_k/\partial\theta", sympy.diff(frustrated, theta), shown.subs(inner), shown)


def _resonant(found: ScalarScore, book: Notebook) -> None:
    """Amplitudes are square roots of a softmax, orientations are divided by their length."""
    logits = sympy.symbols("l_1 l_2 l_3", real=True)
    total = sum(sympy.exp(x) for x in logits)
    a = [sympy.sqrt(sympy.exp(x) / total) for x in logits]
    g = sympy.symbols("g_1 g_2 g_3", real=True)
    loss = sum(x * y for x, y in zip(g, a, strict=True))
    by_hand = (a[0] * g[0] - a[0] ** 2 * loss) / 2
    shown = r"(a_1 g_1 - a_1^2 \sum_r a_r g_r) / 2"
    left = r"\partial L/\partial l_1"
    book.derive("by a logit, three primes kept", left, sympy.diff(loss, logits[0]), by_hand, shown)
    x, y, u, v = sympy.symbols("x y g_x g_y", real=True)
    length = sympy.sqrt(x**2 + y**2)
    loss = (u * x + v * y) / length
    by_hand = (u - (u * x + v * y) / length * x / length) / length
    shown = r"(g - (g \cdot o)\, o / |o|^2) / |o|"
    book.derive("by an orientation, in a plane", r"\partial L/\partial o", sympy.diff(loss, x), by_hand, shown)
    z, tau = found.z, sympy.Symbol("tau", positive=True)
    soft = sympy.exp(z / tau)
    book.derive("by the score, softmax form", "w'", sympy.diff(soft, z), soft / tau, sympy.Symbol("w") / tau)
    by_tau = -z / tau * sympy.diff(soft, z)
    book.derive("by the temperature", r"\partial w/\partial\tau", sympy.diff(soft, tau), by_tau)


def _table(book: Notebook) -> None:
    alpha = sympy.Symbol("alpha", real=True)
    y = alpha * _V + _S
    book.define("a row of the table, with one of its positions; the others are in S", "y", y)
    book.derive("by the weight", r"\partial y/\partial\alpha", sympy.diff(y, alpha), _V)
    book.derive("by the value", r"\partial y/\partial v", sympy.diff(y, _V), alpha)
    soft = (sympy.exp(alpha) * _V + _S) / (sympy.exp(alpha) + _R)
    by_hand = sympy.exp(alpha) / (sympy.exp(alpha) + _R) * (_V - soft)
    left = r"\partial y/\partial\alpha"
    book.derive("with a softmax", left, sympy.diff(soft, alpha), by_hand, _SHARE * (_V - _OUT))


#: Steps beyond those that every score has.
_MORE: dict[str, Callable[[ScalarScore, Notebook], None]] = {
    "expressive": _expressive,
    "squared": _squared,
    "elliptical": _elliptical,
    "eigen": _eigen,
    "kuramoto": _kuramoto,
    "resonant": _resonant,
}
