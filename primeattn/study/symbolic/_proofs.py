r"""Is a score a positive semidefinite kernel? A proof from a few rules, or the reason why there is none.

The rules: a constant c >= 0; u(x) u(y); cos(x - y) = cos x cos y + sin x sin y; sums; products (Schur); f of a kernel
if all coefficients of its power series are >= 0. Schoenberg: f(<x, y>) is positive semidefinite on the unit spheres of
all dimensions only if they are.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sympy
from sympy.series.formal import FormalPowerSeries

from ...attention import Score
from ._derivation import Derivation, Notebook
from ._scores import SCORES, ScalarScore, score

_READ = 12  # coefficients that are looked at one by one


class Coefficients(NamedTuple):
    """Of a power series.

    Attributes
    ----------
    first : tuple of Expr
        The first dozen.
    law : Expr or None
        The general one, in k, if SymPy finds it; None for a polynomial, which ends.
    negative : int or None
        Place of the first that is below 0.
    nonnegative : bool or None
        Whether all are >= 0; None if neither is shown.
    """

    first: tuple[Any, ...]
    law: Any
    negative: int | None
    nonnegative: bool | None


def coefficients(f: Any, z: Any) -> Coefficients:
    """Coefficients of the power series of f around 0, and whether all are at least 0.

    Parameters
    ----------
    f : Expr
    z : Symbol

    Returns
    -------
    Coefficients

    Examples
    --------
    >>> import sympy
    >>> from primeattn.study import symbolic
    >>> z = sympy.Symbol("z", real=True)
    >>> symbolic.coefficients(sympy.exp(z), z).nonnegative
    True
    >>> symbolic.coefficients(z**2 / (1 + z**2), z).negative
    4
    """
    f = sympy.sympify(f)
    if f.is_polynomial(z):
        first = tuple(sympy.Poly(f, z).all_coeffs()[::-1])
        law = None
    else:
        taken = sympy.series(f, z, 0, _READ).removeO()
        first = tuple(taken.coeff(z, k) for k in range(_READ))
        law = _law(f, z)
    negative = next((k for k, c in enumerate(first) if c.is_negative), None)
    if negative is not None:
        return Coefficients(first, law, negative, False)
    known = all(c.is_nonnegative for c in first)
    if law is not None:
        known = known and _never_negative(law)
    return Coefficients(first, law, None, True if known and (law is not None or f.is_polynomial(z)) else None)


def _law(f: Any, z: Any) -> Any:
    found = sympy.fps(f, z)
    if not isinstance(found, FormalPowerSeries):
        return None
    law = sympy.sympify(found.ak.formula)
    k = sympy.Symbol("k", integer=True, nonnegative=True)
    return law.subs({symbol: k for symbol in law.free_symbols if symbol.name in ("k", "_k")})


def _never_negative(law: Any) -> bool:
    branches = [branch for branch, _ in law.args] if isinstance(law, sympy.Piecewise) else [law]
    return all(branch.is_nonnegative for branch in branches)


def prove_psd(name: str | Any) -> Derivation:
    """Prove that a score is a positive semidefinite kernel, or show why it is not.

    Parameters
    ----------
    name : str, Mechanism or Score
        As in `score`.

    Returns
    -------
    Derivation
        Its verdict is "holds", "fails" (with a witness in exact numbers), or "open" if no rule applies.

    Raises
    ------
    ValueError
        As `score`.

    Examples
    --------
    >>> from primeattn.study import symbolic
    >>> [symbolic.prove_psd(name).verdict for name in ("dot_product", "squared", "expressive", "resonance:original")]
    ['holds', 'holds', 'fails', 'fails']
    """
    found = score(name)
    book = Notebook(f"{found.name}: positive semidefinite")
    if found.name in _STEPS_BEFORE:
        _STEPS_BEFORE[found.name](book)
    if found.record == SCORES["resonance:original"]:
        return _original(found, book)
    if not _is_kernel(found.term, found.record, found, book):
        return book.done("open")
    if found.z not in found.weight.free_symbols:
        book.define("a constant that is not negative", "f", found.weight)
        return book.done("holds" if found.weight.is_nonnegative else "fails")
    return _of_series(found, book)


def _of_series(found: ScalarScore, book: Notebook) -> Derivation:
    series, z = coefficients(found.weight, found.z), found.z
    if series.nonnegative:
        says = "all coefficients of f are at least 0, so f(z) is a sum of Schur powers of a kernel"
        law = series.law
        book.define(says, "f(z)" if law is None else "a_k", found.weight if law is None else law)
        return book.done("holds")
    if series.negative is None:
        book.define("the coefficients of f are not known to be at least 0", "f(z)", found.weight)
        return book.done("open")
    says = (
        "a coefficient of f is negative: by Schoenberg's theorem f(<x, y>) is not positive semidefinite on all spheres"
    )
    book.define(says, f"a_{{{series.negative}}}", series.first[series.negative])
    x, y = sympy.symbols("x y", real=True)
    gram = sympy.Matrix([[x * x, x * y], [x * y, y * y]]).applyfunc(lambda v: found.weight.subs(z, v))
    determinant = sympy.factor(gram.det())
    value = determinant.subs({x: 1, y: 3})
    if value.is_negative:
        book.derive("two points x and y on a line have the determinant", r"\det", gram.det(), determinant)
        book.define("at 1 and 3", r"\det", value)
        return book.done("fails")
    return book.done("fails")


def _is_kernel(term: Any, record: Score, found: ScalarScore, book: Notebook) -> bool:
    """Whether rules make a kernel of the term; the steps go to the book."""
    query = {found.letters[a]: found.letters[b] for a, b in record.sides}
    key = {b: a for a, b in query.items()}
    swap = {**query, **key}
    own = set(swap) | {found.letters[letter] for letter in record.kernels}

    def rules(x: Any) -> bool:
        if not x.free_symbols & own:
            if not x.is_nonnegative:
                return False
            if x not in (0, 1):
                book.define("a constant that is not negative", "c", x)
            return True
        if x.is_Symbol and x.name in record.kernels:
            book.define(f"a kernel: {record.kernels[x.name]}", sympy.latex(x), x)
            return True
        if isinstance(x, sympy.cos) and _odd(x.args[0], swap):
            turned = sympy.expand_trig(x)
            book.derive("cosines of differences are inner products", sympy.latex(x), x, turned)
            return True
        if x.is_Add:
            done = all(rules(part) for part in x.args)
            if done:
                book.define("a sum of kernels is a kernel", r"\kappa", x)
            return done
        if x.is_Pow and x.exp.is_Integer and x.exp > 0:
            done = rules(x.base)
            if done:
                book.define("a power is a Schur product", r"\kappa", x)
            return done
        return _product(x, query, key, rules, book)

    return rules(sympy.factor_terms(term)) or rules(sympy.expand(term))


def _odd(x: Any, swap: dict[Any, Any]) -> bool:
    """Whether an angle changes its sign when query and key change places."""
    return sympy.expand(x.subs(swap, simultaneous=True) + x) == 0


def _product(x: Any, query: dict[Any, Any], key: dict[Any, Any], rules, book: Notebook) -> bool:
    of_query, of_key, rest = sympy.S.One, sympy.S.One, []
    for factor in sympy.Mul.make_args(x):
        letters = factor.free_symbols & (set(query) | set(key))
        if letters and letters <= set(query):
            of_query *= factor
        elif letters and letters <= set(key):
            of_key *= factor
        else:
            rest.append(factor)
    if rest == [x]:
        return False  # no rule
    if sympy.simplify(of_query.subs(query, simultaneous=True) - of_key) != 0:
        return False
    if of_query != 1:
        book.define("one function of either token", "u(x)\\,u(y)", of_query * of_key)
    done = all(rules(factor) for factor in rest)
    if done and len(rest) + (of_query != 1) > 1:
        book.define("a product of kernels is a kernel (Schur)", r"\kappa", x)
    return done


def _original(found: ScalarScore, book: Notebook) -> Derivation:
    """Two sets of states, in exact numbers; weights .33, .33, .34."""
    half, alpha, rest = sympy.Rational(1, 2), sympy.Rational(33, 100), sympy.Rational(67, 100)
    sets = ({2}, {2, 3}, {3})
    shared = sympy.Matrix(3, 3, lambda i, j: 1 if sets[i] & sets[j] else 0)
    jaccard = sympy.Matrix(3, 3, lambda i, j: sympy.Rational(len(sets[i] & sets[j]), len(sets[i] | sets[j])))
    book.define(
        "a mean over shared primes is no kernel: three states on the primes {2}, {2, 3}, {3}, all else equal",
        "Q",
        shared,
    )
    gram = alpha * jaccard + rest * shared
    lowest = 1 - sympy.sqrt(2) * (alpha * half + rest)
    book.derive("smallest eigenvalue of their scores", r"\lambda", _least(gram), lowest)
    angles = [0, sympy.pi / 4, sympy.pi / 2, 3 * sympy.pi / 4]
    book.define(
        "and neither is an absolute value: four quaternions in one plane, 45 degrees apart, on one prime",
        r"|q \cdot q'|",
        sympy.Matrix(4, 4, lambda i, j: abs(sympy.cos(angles[i] - angles[j]))),
    )
    gram = sympy.Matrix(4, 4, lambda i, j: alpha * abs(sympy.cos(angles[i] - angles[j])) + rest)
    book.derive("smallest eigenvalue of their scores", r"\lambda", _least(gram), alpha * (1 - sympy.sqrt(2)))
    return book.done("fails")


def _least(matrix: Any) -> Any:
    return min(matrix.eigenvals(), key=lambda value: value.evalf())


def _union(book: Notebook) -> None:
    """1 / |A u B| is a kernel of non-empty sets in a universe of N primes."""
    n, w = sympy.Symbol("N", positive=True), sympy.Symbol("w", nonnegative=True)
    k = sympy.Symbol("k", integer=True, nonnegative=True)
    law = 1 / n ** (k + 1)
    says = "w = |complement of A n complement of B| is an inner product of indicator vectors, and |A u B| = N - w"
    book.define(says, r"\frac{1}{|A \cup B|}", 1 / (n - w))
    geometric = sum(law.subs(k, order) * w**order for order in range(_READ))
    exact = sympy.series(1 / (n - w), w, 0, _READ).removeO()
    book.derive("a series with positive coefficients, for w < N: both sets are not empty", "a_k", exact, geometric)


_STEPS_BEFORE = {"resonance:kernel": _union}
