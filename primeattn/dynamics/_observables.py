r"""The table of observables: what is computed while a simulation runs, so that phases need not be kept.

One more is one more entry. Communities are the ``groups`` of the model or labels that the user gives; R of a community
is :math:`|\langle e^{i\theta_j} \rangle|` over its members.
"""

import math
import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from .. import circle
from .._runtime.checks import unmasked
from . import _reductions
from ._network import Edges
from ._seen import Observable, Reduction, Seen

_MOMENT = re.compile(r"(R|Z)([1-9]\d{0,2})")


def _moment(kind: str, m: int) -> Observable:
    if kind == "R":
        return Observable(f"R{m}", f"Daido order parameter |Z_{m}|", "1", (), lambda seen: np.abs(seen.moment(m)))
    return Observable(f"Z{m}", f"mean of exp({m} i theta)", "1", (), lambda seen: seen.moment(m))


def _communities(seen: Seen, labels: Any) -> np.ndarray:
    return _reductions.by_community(seen, labels)


def _entropy(seen: Seen, bins: int) -> np.ndarray:
    """Of the histogram of wrapped phases, in nats."""
    lines = seen.theta.shape[:2]
    place = ((circle.wrap(seen.theta) + math.pi) * (bins / (2 * math.pi))).astype(np.int64).clip(0, bins - 1)
    place = place.reshape(-1, seen.theta.shape[-1]) + bins * np.arange(math.prod(lines))[:, None]
    share = np.bincount(place.ravel(), minlength=bins * math.prod(lines)).reshape(*lines, bins) / seen.theta.shape[-1]
    return -np.sum(share * np.log(np.where(share > 0, share, 1)), axis=-1)


def _local(seen: Seen) -> np.ndarray:
    """|sum_j W_ij e^{i theta_j}| / sum_j |W_ij| with the W of the time; 0 where i hears nobody."""
    model, z, learnt = seen.model, seen.directions, seen.parts.get("weights")
    reach = getattr(model, "ring", 0)
    if reach:
        around = np.concatenate([z[..., -reach:], z, z[..., :reach]], axis=-1)
        sums = np.cumsum(np.concatenate([np.zeros((*z.shape[:2], 1)), around], axis=-1), axis=-1)
        return np.abs(sums[..., 2 * reach + 1 :] - sums[..., : -2 * reach - 1] - z) / (2 * reach)
    found = np.empty(z.shape)
    if learnt is not None:
        for line in np.ndindex(z.shape[:2]):
            found[line] = _heard(model.edges._replace(weight=learnt[line]), z[line])
        return found
    which = np.searchsorted([t for t, _ in model.networks[1:]], seen.t, side="right")
    for k in np.unique(which):
        found[:, which == k] = _heard(model.networks[k][1], z[:, which == k])
    return found


def _heard(edges: Edges, z: np.ndarray) -> np.ndarray:
    from scipy import sparse

    n = z.shape[-1]
    weight = edges.weight if len(edges.weight) else np.ones(len(edges.indices))
    matrix = sparse.csr_array((weight, edges.indices, edges.indptr), shape=(n, n))
    heard = np.abs((matrix @ z.reshape(-1, n).T).T.reshape(z.shape))
    degree = edges.in_degree
    return np.divide(heard, degree, out=np.zeros_like(heard), where=degree > 0)


def _velocity(seen: Seen) -> np.ndarray:
    """Of the oscillators' mean, over the time since the sample before."""
    t, mean = seen.t, seen.theta.mean(axis=-1)
    if seen.before is None:
        first = np.full((len(mean), 1), math.nan)
    else:
        first = ((mean[:, 0] - seen.before[1].mean(axis=-1)) / (t[0] - seen.before[0]))[:, None]
    return np.concatenate([first, np.diff(mean, axis=1) / np.diff(t)], axis=1)


def _group(labels: Any = None) -> Observable:
    compute = partial(_communities, labels=labels)
    return Observable("R_group", "order parameter of each community", "1", ("community",), compute)


def _histogram(bins: int) -> Observable:
    return Observable("entropy", "entropy of the histogram of phases", "nat", (), partial(_entropy, bins=bins))


def _table() -> dict[str, Observable | Reduction]:
    entries: list[Observable | Reduction] = [
        Observable("R", "order parameter |Z_1|", "1", (), lambda seen: np.abs(seen.moment(1))),
        Observable("psi", "mean phase arg Z_1", "rad", (), lambda seen: np.angle(seen.moment(1))),
        _moment("R", 2),
        _moment("Z", 1),
        Observable("R_local", "order parameter of the neighbours", "1", ("oscillator",), _local),
        _group(),
        _histogram(64),
        Observable("velocity", "mean velocity since the sample before", "rad / time", (), _velocity),
        *_reductions.TABLE,
    ]
    return {entry.name: entry for entry in entries}


OBSERVABLES: dict[str, Observable | Reduction] = _table()

_WITH_LABELS: dict[str, Callable[..., Any]] = {
    "R_group": _group,
    "chimera": _reductions.chimera,
    "metastability": _reductions.metastability,
}


def observable(name: str, *, labels: Any = None, bins: int | None = None) -> Observable | Reduction:
    """An entry of `OBSERVABLES` with options.

    Parameters
    ----------
    name : str
        A name of the table, or "R3", "Z3", ... for the m-th moment, m up to 999.
    labels : array_like of int, shape (N,), optional
        Communities of "R_group", "chimera" and "metastability"; the model's groups by default.
    bins : int, optional
        Of the histogram of "entropy"; 64 by default.

    Returns
    -------
    Observable or Reduction

    Raises
    ------
    ValueError
        For a name that is not in the table, or an option that it does not have.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.dynamics.observable("entropy", bins=16).unit
    'nat'
    """
    if labels is not None:
        if name not in _WITH_LABELS:
            raise ValueError(f"{name!r} takes no labels: {', '.join(map(repr, _WITH_LABELS))} do")
        labels = np.asarray(unmasked("labels", labels))
        if labels.ndim != 1 or labels.dtype.kind not in "iu":
            raise ValueError(f"labels have shape {labels.shape} and dtype {labels.dtype}: (N,) integers are wanted")
        return _WITH_LABELS[name](labels)
    if bins is not None:
        if name != "entropy" or not isinstance(bins, int) or bins < 2:
            raise ValueError(f"bins is {bins!r} of {name!r}: 2 or more, of 'entropy', are wanted")
        return _histogram(bins)
    if name in OBSERVABLES:
        return OBSERVABLES[name]
    match = _MOMENT.fullmatch(name) if isinstance(name, str) else None
    if match is None:
        raise ValueError(
            f"observables has {name!r}: names among {', '.join(map(repr, OBSERVABLES))}, or R3, Z3, ... are wanted"
        )
    return _moment(match[1], int(match[2]))


def chosen(names: Any, model: Any) -> tuple[Observable | Reduction, ...]:
    """Entries by name; an `Observable` or `Reduction` of the user's own is taken as it is.

    Raises
    ------
    ValueError
        For a name that is not in the table or comes twice, or what the model cannot give.
    """
    if not isinstance(names, Iterable):
        raise TypeError(f"observables is {names!r}: names such as ('R', 'psi') are wanted")
    names = (names,) if isinstance(names, str | Observable | Reduction) else tuple(names)
    own, lacks = getattr(model, "observables", {}), getattr(model, "lacks", ())
    found = tuple(own[n] if n in own else n if isinstance(n, Observable | Reduction) else observable(n) for n in names)
    given = [o.name for o in found]
    if len(set(given)) < len(given):
        raise ValueError(f"observables are {', '.join(map(repr, given))}: each name once is wanted")
    for o in found:
        if o.name in lacks or (_MOMENT.fullmatch(o.name) and lacks and "Z1" in lacks):
            raise ValueError(
                f"observables has {o.name!r}, which {type(model).__name__} lacks: an Observable of your own sees "
                f"seen.parts[{list(model.unpack(np.ones(model.states)))[-1]!r}]"
            )
        if o.name == "R_local" and model.edges is None and not getattr(model, "ring", 0):
            raise ValueError("observables has 'R_local' but the model has no network: all to all it is 'R'")
        _reductions.check(o, model)
    return found
