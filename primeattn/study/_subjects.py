"""What can be studied, by name: every mechanism, and the two kernels between prime states, in one form.

The kernels of `primeattn.resonance` have no queries and values. Here they get the record of a mechanism: the weights
are the scores of all pairs over their row sums, the output is the weights, and claims measure the scores themselves.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import resonance
from .._runtime import devices
from .._runtime.checks import as_floating, as_generator
from ..attention import MECHANISMS, Claim, DoesNotApply, Fails, Holds, Mechanism, Property, Sample
from ..states import PrimeStates

PREFIX = "resonance:"


def _weights_of_states(states, *, kind, return_weights=False):
    """Scores over their row sums; an empty state attends nothing."""
    table = resonance.matrix(states, kind=kind)
    total = table.sum(axis=-1, keepdims=True)
    table = table / np.where(total > 0, total, 1)
    return (table, table) if return_weights else table


def _scores(sample, states=None):
    return resonance.matrix(sample.inputs[0], states, **sample.options)


def _random_states(rng, *, batch=(), heads=1, tokens=5, width=4, dtype=np.float64, kind) -> Sample:
    """Up to ``width`` of 2 ``width`` primes a state."""
    rng = as_generator(rng)
    sizes = rng.integers(1, width + 1, tokens)
    return Sample((PrimeStates.random(tokens, sizes, n_primes=2 * width, rng=rng, dtype=dtype),), {"kind": kind})


def _of_vectors(x, *, kind) -> Sample:
    """One prime a coordinate: magnitude and phase of its number."""
    return Sample((PrimeStates.from_dense(x, k=min(8, x.shape[-1])),), {"kind": kind})


def _changed(sample: Sample, amplitude=None, orientation=None) -> float:
    s = sample.inputs[0]
    other = PrimeStates(
        s.indptr,
        s.primes,
        s.amplitude if amplitude is None else amplitude,
        s.orientation if orientation is None else orientation,
    )
    return float(abs(_scores(sample, other) - _scores(sample)).max(initial=0))


def _asymmetry(mechanism, sample):
    s = sample.inputs[0]
    table = resonance.matrix(s, s[:], **sample.options)  # as two batches: nothing is mirrored
    return float(abs(table - table.T).max(initial=0))


def _negativity(mechanism, sample):
    return float(max(0.0, -np.linalg.eigvalsh(_scores(sample)).min(initial=0)))


def _outside(mechanism, sample):
    table = _scores(sample)
    return float(max(0.0, table.max(initial=0) - 1, -table.min(initial=0)))


def _by_sign(mechanism, sample):
    return _changed(sample, orientation=-sample.inputs[0].orientation)


def _by_scale(mechanism, sample):
    return _changed(sample, amplitude=3 * sample.inputs[0].amplitude)


def _by_phase(mechanism, sample):
    s, turn = sample.inputs[0], np.exp(1j)
    turned = PrimeStates(s.indptr, s.primes, s.amplitude * turn, s.orientation)
    return float(abs(resonance.matrix(turned, **sample.options) - _scores(sample)).max(initial=0))


def _by_order(mechanism, sample):
    order = np.random.default_rng(0).permutation(len(sample.inputs[0]))
    moved = resonance.matrix(sample.inputs[0][order], **sample.options)
    return float(abs(moved - _scores(sample)[np.ix_(order, order)]).max(initial=0))


def averaging(kind: str = "original") -> Sample:
    """{2}, {2, 3}, {3}: the first and the last resonate with the second, fully, and not with one another."""
    return Sample((PrimeStates.from_dicts([{2: 1}, {2: 1, 3: 1}, {3: 1}]),), {"kind": kind})


def _many_sets() -> Sample:
    """All 31 non-empty sets of five primes; polynomials of degree 2 in five numbers have 21 features."""
    primes = (2, 3, 5, 7, 11)
    sets = [{p: 1 for b, p in enumerate(primes) if n >> b & 1} for n in range(1, 32)]
    return Sample((PrimeStates.from_dicts(sets),), {"kind": "kernel"})


def _rank_beyond(mechanism, sample):
    values = np.linalg.svd(_scores(sample), compute_uv=False)
    return float(values[21] / values[0])


def _claims(kind: str) -> dict[Property, Claim]:
    original = kind == "original"
    no_vectors = DoesNotApply("states are sets with phases and orientations: no vector can be added")
    psd: Claim = Holds("1 / |A u B| is PSD on sets; squares of inner products and cosines are; Schur", _negativity)
    linear: Claim = Fails(
        "1 / |A u B| is no polynomial; with sqrt(k k') in its place there are 13 features a prime",
        _many_sets,
        1e-3,
        _rank_beyond,
    )
    if original:
        psd = Fails("means over the shared primes: {2}, {2, 3}, {3}", averaging, 0.1, _negativity)
        linear = Fails("what is not PSD has no features", averaging, 0.1, _negativity)
    return {
        Property.ROW_STOCHASTIC: DoesNotApply("a kernel between states: nothing is normalised by row"),
        Property.BOUNDED: Holds("scores lie between 0 and 1", _outside),
        Property.SYMMETRIC: Holds("every factor is symmetric", _asymmetry),
        Property.PSD: psd,
        Property.SIGN_INVARIANT: Holds("q and -q are one rotation: |q . q'| and (q . q')^2 are even", _by_sign),
        Property.SCALE_INVARIANT: Holds("magnitudes of amplitudes do not enter", _by_scale),
        Property.KEY_SHIFT_INVARIANT: no_vectors,
        Property.PHASE_SHIFT_INVARIANT: Holds("only differences of phases enter", _by_phase),
        Property.PERMUTATION_EQUIVARIANT: Holds("a score is a function of two states", _by_order),
        Property.EXACT_LINEAR_FORM: linear,
    }


def _no_gradients(*_, **__):
    raise TypeError("gradients of scores between states are those of resonance.vjp")


def _record(kind: str) -> Mechanism:
    return Mechanism(
        name=PREFIX + kind,
        inputs=("states",),
        parameters=(),
        forward=_weights_of_states,
        vjp=_no_gradients,
        reference=_weights_of_states,
        sample=lambda rng, **sizes: _random_states(rng, **sizes, kind=kind),
        of_vectors=lambda x: _of_vectors(x, kind=kind),
        properties=_claims(kind),
        cite="S. Schepis, tinyaleph" if kind == "original" else "Positive semidefinite correction of tinyaleph's score",
    )


STATE_KERNELS: dict[str, Mechanism] = {PREFIX + kind: _record(kind) for kind in ("original", "kernel")}
SUBJECTS: dict[str, Mechanism] = {**MECHANISMS, **STATE_KERNELS}


def is_of_states(subject: Mechanism) -> bool:
    return subject.inputs == ("states",)


def subject(name: Any) -> Mechanism:
    """A mechanism or kernel by its name; a record as it is."""
    if isinstance(name, Mechanism):
        return name
    if name not in SUBJECTS:
        raise ValueError(f"{name!r} is no mechanism: one of {', '.join(map(repr, SUBJECTS))} is wanted")
    return SUBJECTS[name]


def subjects(names: Any = None) -> list[Mechanism]:
    """All for None; one; or several, each once."""
    if names is None:
        return list(SUBJECTS.values())
    if isinstance(names, (str, Mechanism)):
        names = [names]
    if not isinstance(names, Iterable):
        raise TypeError(f"mechanisms is {names!r}: a name, names, or None for all is wanted")
    found = {s.name: s for s in map(subject, names)}
    if not found:
        raise ValueError("mechanisms is empty: pass at least one name, or None for all")
    return list(found.values())


def of_points(which: Mechanism, points: Any) -> Sample:
    """How points attend themselves: vectors (n, d), or prime states where the kernel is of states."""
    if isinstance(points, PrimeStates):
        if not is_of_states(which):
            raise TypeError(
                f"inputs are prime states, but {which.name} takes vectors: pass an array (n, d), or study "
                f"{' and '.join(map(repr, STATE_KERNELS))} alone"
            )
        return Sample((points,), {"kind": which.name.removeprefix(PREFIX)})
    return which.of_vectors(points)


def check_points(points: Any, least: int = 1) -> Any:
    """Finite vectors (n, d) in float64, or states."""
    if devices.is_device_array(points):
        raise TypeError("inputs are a CUDA array: the study runs on the CPU; pass pa.to_host(inputs)")
    if isinstance(points, PrimeStates):
        if len(points) < least:
            raise ValueError(f"inputs have {len(points)} states: at least {least} are wanted")
        return points
    x = as_floating("inputs", points, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"inputs have shape {x.shape}: (tokens, width) is wanted, one sequence of vectors")
    if len(x) < least:
        raise ValueError(f"inputs have {len(x)} tokens: at least {least} are wanted")
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=-1))[0])
        raise ValueError(f"inputs hold NaN or infinity, first in token {row}: no property of it is defined; drop it")
    return x
