r"""Attention iterated: tokens as particles that attend one another, layer after layer, with nothing else in between.

    sphere   x <- unit(x + h P_x y),          P_x y = y - <x, y> x
    torus    theta_t <- theta_t + h sum_u A_tu sin(theta_u - theta_t)
    free     x <- x + h (y - x)

y is what attention gives the tokens x for q = k = v = x, A its weights; on the torus a mechanism of vectors attends
[cos theta, sin theta]. In step, all tokens alike, each of the three has the Jacobian h (A - 1) where rows sum to 1:
what changes in A meets P_x x = 0, sin 0 = 0, or sum_u dA_tu x = 0. See `_synchrony`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._runtime.checks import as_floating, as_generator
from ..attention import MECHANISMS, Holds, Mechanism, Property
from ..attention._inputs import is_number
from ._counts import check_count
from ._synchrony import Synchrony, synchrony

SPACES = ("sphere", "torus", "free")
_TOLERANCE = 1e-2  # radians, or shares of the first diameter
_TURNED = 2.0**40  # radians; phases beyond are right to 1e-4 only


@dataclasses.dataclass(frozen=True, eq=False)
class Depth:
    """Tokens through layers of one mechanism.

    Attributes
    ----------
    mechanism, space : str
    t : ndarray of float, shape (layers + 1,)
        Layer times step; the first entry is the start.
    x : ndarray of float, shape (layers + 1, [runs,] T, D)
        Unit vectors, angles, or vectors.
    R : ndarray of float, shape (layers + 1, [runs])
        Order parameter: length of the mean of the tokens over their root mean square; on the torus the mean over
        coordinates of \\|mean exp(i theta)\\|.
    energy : ndarray of float, shape (layers + 1, [runs])
        Mean of F(z_tu) over all pairs, F' = f the weight of a score z; NaN where no theorem makes it one.
    diameter : ndarray of float, shape (layers + 1, [runs])
        Largest distance of two tokens: angle, arc (of the coordinate that differs most), or length.
    attended : ndarray of float, shape (layers + 1, [runs])
        Tokens that a token attends, exp of the entropy of its absolute weights; mean over tokens and heads.
    clusters : ndarray of int, shape (layers + 1, [runs])
        Groups that are connected by steps shorter than the tolerance.
    claims : dict of str to str
        What theory says of them for small steps: "rises" or "falls".
    settings : dict
    """

    mechanism: str
    space: str
    t: np.ndarray
    x: np.ndarray
    R: np.ndarray
    energy: np.ndarray
    diameter: np.ndarray
    attended: np.ndarray
    clusters: np.ndarray
    claims: dict[str, str]
    settings: dict[str, Any]
    _record: Mechanism = dataclasses.field(repr=False)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.x.shape[1:]))
        return f"Depth({self.mechanism} on {self.space}: {len(self.t) - 1} layers of {shape})"

    def violation(self, name: str) -> float:
        """How far a claim is from true: the largest step in the wrong direction over the largest value; 0 if none.

        Parameters
        ----------
        name : str
            A key of ``claims``.
        """
        if name not in self.claims:
            raise ValueError(f"{name!r} has no claim here: {', '.join(map(repr, self.claims)) or 'nothing'} has one")
        values = getattr(self, name)
        steps = np.diff(values, axis=0) * (1 if self.claims[name] == "rises" else -1)
        return float(max(0.0, -steps.min(initial=0.0)) / (np.abs(values).max(initial=0.0) or 1.0))

    def clustering_time(self, count: int = 1) -> Any:
        """When at most ``count`` clusters were left for the first time; NaN if they never were.

        Parameters
        ----------
        count : int

        Returns
        -------
        float or ndarray of float, shape (runs,)
        """
        reached = self.clusters <= count
        first = np.where(reached.any(axis=0), self.t[reached.argmax(axis=0)], np.nan)
        return float(first) if first.ndim == 0 else first

    def weights(self, layer: int = -1, run: int | None = None) -> np.ndarray:
        """The attention matrix at a layer, the mean of heads if there are some.

        Parameters
        ----------
        layer : int
        run : int, optional
            0 by default, where there are runs.

        Returns
        -------
        ndarray of float, shape (T, T)
        """
        x = self._tokens(layer, run)
        return _Layer(self._record, self.space, self.settings["options"], self.settings["step"])(x)[1]

    def oscillators(self, layer: int = -1, run: int | None = None) -> Any:
        """The bridge to `dynamics`: identical oscillators, coupled by the attention matrix of a layer as it stands.

        Parameters
        ----------
        layer : int
        run : int, optional

        Returns
        -------
        pa.Kuramoto
            theta_t' = sum_u A_tu sin(theta_u - theta_t).
        """
        from ..dynamics import Kuramoto

        a = self.weights(layer, run)
        return Kuramoto(np.zeros(len(a)), 1.0, a, normalize=None)

    def synchrony(self) -> Synchrony:
        """Linear stability of all tokens alike, at the first token of the last layer."""
        x = self._tokens(-1, None)
        alike = np.broadcast_to(x[:1], x.shape).copy()
        layer = _Layer(self._record, self.space, self.settings["options"], self.settings["step"])
        return synchrony(layer(alike)[1])

    def _tokens(self, layer: int, run: int | None) -> np.ndarray:
        x = self.x[layer]
        if run is not None and x.ndim == 2:
            raise ValueError(f"run is {run} but there is one run: leave it out")
        return x if x.ndim == 2 else x[0 if run is None else run]

    def to_xarray(self) -> Any:
        """All of it, labelled.

        Returns
        -------
        xarray.Dataset
            Dimensions layer, run (if there are several), token, coordinate; the coordinate time is layer times step.
        """
        import xarray

        runs = ("run",) if self.x.ndim == 4 else ()
        says = {
            "R": "order parameter",
            "energy": "mean of F(z) over pairs, F' = f",
            "diameter": "largest distance of two tokens",
            "attended": "tokens that a token attends",
            "clusters": "groups of tokens",
        }
        variables = {name: (("layer", *runs), getattr(self, name), {"long_name": text}) for name, text in says.items()}
        unit = {"units": "rad"} if self.space == "torus" else {}
        variables["x"] = (("layer", *runs, "token", "coordinate"), self.x, {"long_name": "tokens", **unit})
        coords = {"layer": np.arange(len(self.t)), "time": ("layer", self.t)}
        plain = {name: value for name, value in self.settings.items() if isinstance(value, int | float | str)}
        options = {name: v for name, v in self.settings["options"].items() if isinstance(v, bool | int | float | str)}
        options = {name: int(v) if isinstance(v, bool) else v for name, v in options.items()}
        claims = {f"{name}_claim": claim for name, claim in self.claims.items()}
        about = {"mechanism": self.mechanism, "space": self.space, **plain, **options, **claims}
        return xarray.Dataset(variables, coords, about)


def dynamics_of(
    mechanism: str | Mechanism,
    x0: Any = None,
    *,
    space: str = "sphere",
    tokens: int = 32,
    width: int = 3,
    runs: int | None = None,
    depth: int = 200,
    step: float = 0.1,
    tolerance: float = _TOLERANCE,
    rng: Any = None,
    **options: Any,
) -> Depth:
    r"""Attention iterated as a particle system: what layer after layer of it does to tokens.

    Parameters
    ----------
    mechanism : str or Mechanism
        A key of `attention.MECHANISMS`.
    x0 : array_like of float, shape ([runs,] T, D), optional
        Tokens to start from: vectors, or angles on the torus. By default they are drawn: uniform on sphere and torus,
        unit Gaussian in free space.
    space : {"sphere", "torus", "free"}
    tokens, width, runs : int
        Of tokens that are drawn.
    depth : int
        Layers.
    step : float
        h > 0: 1 is a plain layer, a small one approaches continuous time.
    tolerance : float
        Tokens closer than this are of one cluster: radians, in free space a share of the first diameter.
    rng : int or numpy.random.Generator, optional
    **options
        Of the mechanism: ``scale=4.0``, ``causal=True``, ``beta=2.0``. What it needs beyond tokens (a basis, a
        relevance, phases) comes from its ``of_vectors`` at every layer, unless it is given here.

    Returns
    -------
    Depth

    Raises
    ------
    ValueError
        For another name or space, angles where a mechanism takes vectors or the reverse, tokens that are not finite or
        have no direction, a step that is not positive or throws tokens beyond float64, a tolerance below 0.
    TypeError
        For an option that the mechanism does not have.

    Notes
    -----
    With y the output and A the weights of attention for :math:`q = k = v = x`, and
    :math:`P_x y = y - \langle x, y\rangle x`,

    .. math:: x \leftarrow \frac{x + h P_x y}{|x + h P_x y|}, \qquad
              \theta_t \leftarrow \theta_t + h \sum_u A_{tu} \sin(\theta_u - \theta_t), \qquad
              x \leftarrow x + h (y - x).

    For a score :math:`z = \alpha \langle q, k\rangle` without mask, :math:`E = \sum_{tu} F(z_{tu})` with
    :math:`F' = f` grows on sphere and torus: :math:`\partial E / \partial x_t = 2 \alpha r_t y_t` with the row sum
    :math:`r_t > 0`, so :math:`E' = 2\alpha \sum_t r_t |P_{x_t} y_t|^2 \ge 0`. In free space means of values shrink the
    diameter. For softmax this is the system of Geshkovski et al.; ``space="torus"`` with "kuramoto", ``beta=0``, is the
    Kuramoto model without frequencies.

    References
    ----------
    B. Geshkovski, C. Letrouit, Y. Polyanskiy, P. Rigollet, "A mathematical perspective on Transformers",
    arXiv:2312.10794; "The emergence of clusters in self-attention dynamics", arXiv:2305.05465.

    Examples
    --------
    >>> import primeattn as pa
    >>> run = pa.study.dynamics_of("dot_product", scale=1.0, tokens=8, depth=150, rng=0)
    >>> run
    Depth(dot_product on sphere: 150 layers of 8x3)
    >>> int(run.clusters[0]), int(run.clusters[-1]), run.claims["energy"], run.violation("energy") < 1e-15
    (8, 1, 'rises', True)
    """
    record = _mechanism(mechanism)
    _check_space(record, space)
    for name, value, least in (("tokens", tokens, 1), ("width", width, 1), ("depth", depth, 0)):
        check_count(name, value, least)
    if not is_number(step) or step <= 0:
        raise ValueError(f"step is {step!r}: a positive number is wanted")
    if not is_number(tolerance) or tolerance < 0:
        raise ValueError(f"tolerance is {tolerance!r}: a finite number, 0 or more, is wanted")
    known = set(inspect.signature(record.forward).parameters) - {*record.inputs, "return_weights", "step"}
    if unknown := set(options) - known:
        raise TypeError(f"{record.name} has no option {', '.join(sorted(unknown))}: {', '.join(sorted(known))} it has")
    x = _start(x0, space, tokens, width, runs, as_generator(rng))
    layer = _Layer(record, space, options, float(step))
    path, tables = [x], []
    try:
        with np.errstate(over="raise"):
            for _ in range(depth):
                x, table = layer(x)
                path.append(x)
                tables.append(_attended(table))
            tables.append(_attended(layer(x)[1]))
            line = np.stack(path)
            order, distances = _order(line, space), _distances(line, space)
            if space == "torus" and abs(line - line[0]).max() > _TURNED:
                raise FloatingPointError
    except FloatingPointError:
        raise ValueError(
            f"tokens go beyond what float64 tells apart within {max(1, len(path) - 1)} layers of step {step:g}: a "
            f"smaller step is wanted, 1 is a plain layer"
        ) from None
    energy, claims = _energy(record, space, options, line)
    diameter = distances.max(axis=(-2, -1))
    within = tolerance if space != "free" else tolerance * diameter[0]
    settings = {"step": float(step), "tolerance": float(tolerance), "options": dict(options)}
    if space == "free" and step <= 1 and isinstance(record.properties[Property.BOUNDED], Holds):
        claims = {**claims, "diameter": "falls"}
    return Depth(
        mechanism=record.name,
        space=space,
        t=step * np.arange(depth + 1),
        x=line,
        R=order,
        energy=energy,
        diameter=diameter,
        attended=np.stack(tables),
        clusters=_clusters(distances, within),
        claims=claims,
        settings=settings,
        _record=record,
    )


def _mechanism(mechanism: str | Mechanism) -> Mechanism:
    if isinstance(mechanism, Mechanism):
        return mechanism
    if mechanism not in MECHANISMS:
        raise ValueError(f"mechanism is {mechanism!r}: one of {', '.join(map(repr, MECHANISMS))} is wanted")
    return MECHANISMS[mechanism]


def _check_space(record: Mechanism, space: str) -> None:
    if space not in SPACES:
        raise ValueError(f"space is {space!r}: one of {', '.join(map(repr, SPACES))} is wanted")
    if record.inputs == ("theta",) and space != "torus":
        raise ValueError(f"{record.name} takes angles: pass space='torus'")


def _start(x0, space, tokens, width, runs, rng) -> np.ndarray:
    if x0 is None:
        shape = (tokens, width) if runs is None else (runs, tokens, width)
        x = rng.uniform(-np.pi, np.pi, shape) if space == "torus" else rng.standard_normal(shape)
    else:
        x = np.array(as_floating("x0", x0, dtype=np.float64))
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ValueError(f"x0 has shape {x.shape}: (tokens, width) or (runs, tokens, width) is wanted, none of them 0")
    if not np.isfinite(x).all():
        raise ValueError("x0 has entries that are NaN or infinite: finite ones are wanted")
    if space != "sphere":
        return x
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    if not length.all():
        raise ValueError("x0 has tokens of length 0: they have no place on the sphere")
    return x / length


class _Layer:
    """One layer: tokens -> (tokens, weights), the mean over heads of the latter."""

    def __init__(self, record: Mechanism, space: str, options: Mapping[str, Any], step: float):
        self.record, self.space, self.options, self.step = record, space, dict(options), step

    def __call__(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        record, h = self.record, self.step
        if record.inputs == ("theta",):
            out, weights = record.forward(x, **self.options, step=h, return_weights=True)
            return out, weights.mean(axis=-3)
        tokens = np.concatenate([np.cos(x), np.sin(x)], axis=-1) if self.space == "torus" else x
        sample = record.of_vectors(tokens)
        out, weights = record.forward(*sample.inputs, **{**sample.options, **self.options}, return_weights=True)
        if self.space == "torus":
            c, s = np.cos(x), np.sin(x)
            return x + h * (c * (weights @ s) - s * (weights @ c)), weights
        if self.space == "free":
            return x + h * (out - x), weights
        moved = x + h * (out - (x * out).sum(axis=-1, keepdims=True) * x)
        return moved / np.linalg.norm(moved, axis=-1, keepdims=True), weights


def _attended(weights: np.ndarray) -> np.ndarray:
    share = np.abs(weights)
    total = share.sum(axis=-1, keepdims=True)
    share = share / np.where(total == 0, 1, total)
    entropy = -(share * np.log(np.where(share > 0, share, 1))).sum(axis=-1)
    return np.exp(entropy).mean(axis=-1)


def _energy(record: Mechanism, space: str, options: Mapping[str, Any], x: np.ndarray):
    """Mean of F(z), and the claim; NaN where a row does not climb it."""
    energy = _climbed(record, space, options)
    if energy is None:
        return np.full(x.shape[:-2], np.nan), {}
    return np.stack([energy(one) for one in x]), {"energy": "rises"}


def _climbed(record: Mechanism, space: str, options: Mapping[str, Any]) -> Callable[[np.ndarray], Any] | None:
    score = record.score
    if score is None or space == "free":
        return None
    if record.inputs == ("theta",):
        if set(options) - {"beta"} or np.ndim(options.get("beta", 1.0)) or score.weight.text != "exp(z)":
            return None
        scale: Any = options.get("beta", 1.0)
    elif score.term == "scale*q*k" and not set(options) - {"scale", "eps"}:
        scale = options.get("scale")
    else:
        return None
    if scale is not None and scale < 0:
        return None
    from .symbolic import score as formula

    found = formula(record)
    primitive = found.numeric(found.primitive())

    def energy(x):
        tokens = np.concatenate([np.cos(x), np.sin(x)], axis=-1) if space == "torus" else x
        factor = tokens.shape[-1] ** -0.5 if scale is None else scale
        return primitive(factor * tokens @ np.swapaxes(tokens, -1, -2)).mean(axis=(-2, -1))

    return energy


def _order(x: np.ndarray, space: str) -> np.ndarray:
    if space == "torus":
        return np.abs(np.exp(1j * x).mean(axis=-2)).mean(axis=-1)
    size = np.sqrt((x**2).sum(axis=-1).mean(axis=-1))
    return np.linalg.norm(x.mean(axis=-2), axis=-1) / np.where(size == 0, 1, size)


def _distances(x: np.ndarray, space: str) -> np.ndarray:
    """(layers, [runs,] T, T)."""
    found = np.empty((*x.shape[:-1], x.shape[-2]))
    for at in np.ndindex(x.shape[:-2]):
        one = x[at]
        between = one[:, None] - one[None]
        if space == "torus":
            found[at] = np.abs(np.angle(np.exp(1j * between))).max(axis=-1)
        else:
            chord = np.linalg.norm(between, axis=-1)
            found[at] = chord if space == "free" else 2 * np.arcsin(np.minimum(chord / 2, 1))
    return found


def _clusters(distances: np.ndarray, within: Any) -> np.ndarray:
    from scipy.sparse.csgraph import connected_components

    within = np.broadcast_to(within, distances.shape[:-2])
    found = np.empty(distances.shape[:-2], np.int64)
    for at in np.ndindex(found.shape):
        found[at] = connected_components(distances[at] <= within[at], directed=False)[0]
    return found
