"""Everything that the property table says of one mechanism."""

import inspect
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..attention import DoesNotApply, Fails, Mechanism, Property, Sample, violation
from . import _derivatives as derivatives
from . import _tables as tables
from ._certificates import Certificate, certify
from ._counterexample import counterexample
from ._describe import describe
from ._gram import ENTRY_ERROR, balanced, has_no_kernel, weights_of
from ._small_witness import count, small_witness
from ._subjects import is_of_states, of_points

#: Sums of up to 9 weights of at most 1, or eigenvalues of such a table, in float64: 1e3 eps covers both with room.
ROUNDING = 1e3 * float(np.finfo(float).eps)
HOLDS, FAILS, DOES_NOT_APPLY = "holds", "fails", "does not apply"
FACTORS = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)
LENGTHS = (8, 16, 32, 64)
DEPTHS = 12
TOKENS, WIDTH = 64, 16
_GROWTH = 5  # times the Jacobian of unit scores: what neither a bounded nor a homogeneous mechanism reaches


class Drawn(NamedTuple):
    """What a mechanism is measured on."""

    sample: Sample  # its weights
    itself: Sample  # points that attend themselves: its kernel
    given: bool  # by the user
    sets: int
    timing: bool
    seed: int  # every measure draws from a stream of its own, so that none depends on which others run


def drawn_for(which: Mechanism, points, sets: int, timing: bool, seed: int, tokens: int = TOKENS) -> Drawn:
    if points is None:
        sample = which.sample(np.random.default_rng(seed), batch=(), heads=1, tokens=tokens, width=WIDTH)
        itself = which.of_vectors(np.random.default_rng(seed).standard_normal((tokens, WIDTH)))
    else:
        sample = itself = of_points(which, points)
    return Drawn(sample, itself, points is not None, sets, timing, seed)


def row_of(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    """Everything about one mechanism."""
    row: dict[str, Any] = {}
    for measure in _MEASURES:
        row |= measure(which, drawn)
    return row


def _claims(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    rows: dict[str, list] = {name: [] for name in ("verdict", "why", "violation", "tested", "witness")}
    for prop in Property:
        claim = which.properties[prop]
        if isinstance(claim, DoesNotApply):
            found: tuple = (DOES_NOT_APPLY, claim.why, np.nan, 0, "")
        elif isinstance(claim, Fails):
            witness = claim.witness()
            by = violation(prop, which, witness)
            if not by >= claim.by:
                raise ArithmeticError(
                    f"{which.name} claims that {prop.name} fails by {claim.by:g}, its witness shows {by:g}: correct it"
                )
            small = small_witness(which, prop, max(claim.by / 2, 100 * ROUNDING))
            if small is not None and count(small[0]) < count(witness):
                witness, by = small
            says = describe(witness, which.inputs, prop)
            if prop is Property.PSD:  # proved, where the search of small lattices finds a witness
                proved = counterexample(which, "psd", search="lattice")
                says = says if proved is None else proved.short()
            found = (FAILS, claim.why, by, 1, says)
        else:
            worst = max(violation(prop, which, s) for s in _theorem_samples(which, drawn))
            if not worst <= ROUNDING:
                raise ArithmeticError(
                    f"{which.name} claims that {prop.name} holds ({claim.why}), but a sample breaks it by {worst:g}: "
                    f"correct the claim, or the mechanism"
                )
            found = (HOLDS, claim.why, worst, drawn.sets, "")
        for name, value in zip(rows, found, strict=True):
            rows[name].append(value)
    return rows


def _theorem_samples(which: Mechanism, drawn: Drawn) -> Iterator[Sample]:
    rng = np.random.default_rng(drawn.seed)
    for _ in range(drawn.sets):
        tokens, width = int(rng.integers(1, 10)), int(rng.choice((2, 4, 6)))
        yield which.sample(rng, batch=(), heads=2, tokens=tokens, width=width)


def kernel_certificate(which: Mechanism, itself: Sample) -> Certificate | None:
    """Eigenvalues of the kernel over the roots of its row sums; None without a kernel."""
    if has_no_kernel(which):
        return None
    table = balanced(weights_of(which, itself))
    found = [certify(t, entry_error=ENTRY_ERROR * float(abs(t).max())) for t in table]
    return min(found, key=lambda c: c.smallest)


def _gram(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    found = kernel_certificate(which, drawn.itself)
    values = (np.nan,) * 3 if found is None else (found.smallest, found.largest, found.error)
    names = ("gram_smallest", "gram_largest", "gram_error")
    return dict(zip(names, values, strict=True)) | {"gram_verdict": "" if found is None else found.verdict}


def _of_weights(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    table = weights_of(which, drawn.sample)
    n = table.shape[-1]
    rows = tables.entropy(table) / np.log(n)
    stochastic = abs(table.sum(axis=-1) - 1).max() <= 1e-3 and table.min() >= 0
    positive = table.min() >= 0

    def mean(measure: Callable) -> float:
        return float(np.mean([measure(t) for t in table]))

    found = {
        "weight_low": float(table.min()),
        "weight_high": float(table.max()),
        "row_sum_error": float(abs(table.sum(axis=-1) - 1).max()),
        "entropy": float(np.nanmean(rows)) if positive and np.isfinite(rows).any() else np.nan,
        "entropy_least": float(np.nanmin(rows)) if positive and np.isfinite(rows).any() else np.nan,
        "entropy_bound": mean(tables.entropy_bound) / np.log(n),
        "effective_rank": mean(tables.effective_rank),
        "stable_rank": mean(tables.stable_rank),
        "singular_ratio": mean(tables.singular_ratio),
        "dobrushin": mean(tables.dobrushin) if stochastic else np.nan,
        "spectral_gap": mean(tables.spectral_gap) if stochastic else np.nan,
        "spectral_gap_causal": np.nan,
        "effective_rank_causal": np.nan,
        "singular_ratio_causal": np.nan,
    }
    causal = _with(which, drawn.sample, causal=True)
    if causal is not None:
        table = weights_of(which, causal)
        found["effective_rank_causal"] = mean(tables.effective_rank)
        found["singular_ratio_causal"] = mean(tables.singular_ratio)
        if stochastic:
            diagonal = np.diagonal(table, axis1=-2, axis2=-1)
            found["spectral_gap_causal"] = float(np.mean(1 - diagonal[:, 1:].max(axis=-1)))
    return found


def _takes(which: Mechanism, option: str) -> bool:
    return option in inspect.signature(which.forward).parameters


def _with(which: Mechanism, sample: Sample, **options) -> Sample | None:
    """The sample with other options, where the mechanism has them."""
    return Sample(sample.inputs, sample.options | options) if all(_takes(which, o) for o in options) else None


def sharpened(which: Mechanism, sample: Sample, factor: float) -> Sample | None:
    """Scores ``factor`` times as large: by the scale, by beta, or by longer queries; None without scores."""
    if _takes(which, "scale"):
        own = sample.options.get("scale")
        scale = sample.inputs[0].shape[-1] ** -0.5 if own is None else own
        return Sample(sample.inputs, sample.options | {"scale": factor * scale})
    if _takes(which, "beta"):
        return Sample(sample.inputs, sample.options | {"beta": factor * np.asarray(sample.options.get("beta", 1.0))})
    if len(sample.inputs) > 1:
        return Sample((factor * sample.inputs[0], *sample.inputs[1:]), sample.options)
    return None


def _limits(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    """Entropy and Jacobian while scores grow."""
    nothing = [np.nan] * len(FACTORS)
    found: dict[str, Any] = {"entropy_at": nothing, "jacobian_at": nothing, "limit_small": "", "limit_large": ""}
    found["lipschitz"] = ""
    if is_of_states(which):
        return found
    samples = [sharpened(which, drawn.sample, f) for f in FACTORS]
    if samples[0] is None:
        slope = derivatives.jacobian_norm(which, drawn.sample, np.random.default_rng(drawn.seed))
        return found | {"jacobian_at": [slope] * len(FACTORS), "lipschitz": "linear in its inputs"}
    n = drawn.sample.inputs[0].shape[-2]
    with np.errstate(all="ignore"):
        entropies = [float(np.nanmean(tables.entropy(weights_of(which, s)))) / np.log(n) for s in samples if s]
        found["jacobian_at"] = [
            derivatives.jacobian_norm(which, s, np.random.default_rng(drawn.seed))
            for s in _longer(which, drawn.sample)
            if s
        ]
    found["entropy_at"] = entropies
    level = np.ptp(entropies) <= 1e-6
    found["limit_small"], found["limit_large"] = ("scale free" if level else _limit(entropies[i]) for i in (0, -1))
    found["lipschitz"] = _growth(found["jacobian_at"])
    return found


def _longer(which: Mechanism, sample: Sample) -> Iterator[Sample | None]:
    """All inputs but the values, times every factor; angles, and a single input, by their sharpness instead."""
    for f in FACTORS:
        if len(sample.inputs) > 1:
            yield Sample((*(f * x for x in sample.inputs[:-1]), sample.inputs[-1]), sample.options)
        else:
            yield sharpened(which, sample, f)


def _limit(entropy: float) -> str:
    if entropy > 0.998:
        return "uniform"
    return "one-hot" if entropy < 0.05 else f"entropy {entropy:.3f} of uniform"


def _growth(norms: Sequence[float]) -> str:
    """Where the local Lipschitz constant grows: it is a lower bound of the global one, which then is not finite."""
    middle = len(norms) // 2
    sides = (("small scores", norms[:middle]), ("large scores", norms[middle + 1 :]))
    says = [name for name, side in sides if max(side) > _GROWTH * norms[middle]]
    return "grows for " + " and ".join(says) if says else "no growth seen"


def _slopes(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    """Jacobian by length, gradients by argument, and both programs against one another."""
    if is_of_states(which):
        return {"jacobian_norm": [np.nan] * len(LENGTHS), "gradient_norm": {}, "adjoint_error": np.nan}
    rng = np.random.default_rng(drawn.seed)
    norms = [
        derivatives.jacobian_norm(which, which.sample(rng, batch=(), heads=1, tokens=n, width=WIDTH), rng)
        for n in LENGTHS
    ]
    out, gradients = derivatives.pullback_of(which, drawn.sample)
    u = rng.standard_normal(out.shape)
    u /= np.linalg.norm(u)
    down = gradients(u)
    w = [rng.standard_normal(x.shape) for x in drawn.sample.inputs]
    forward = float((derivatives.pushforward(which, drawn.sample, w) * u).sum())
    backward = float(sum((a * b).sum() for a, b in zip(w, down, strict=True)))
    sizes = {name: float(np.linalg.norm(g)) for name, g in zip(which.inputs, down, strict=True)}
    error = abs(forward - backward) / max(1.0, abs(forward))
    return {"jacobian_norm": norms, "gradient_norm": sizes, "adjoint_error": error}


def _depth(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    """Tokens that attend themselves again and again, without residual connections."""
    residuals, cosines = [np.nan] * (DEPTHS + 1), [np.nan] * (DEPTHS + 1)
    if is_of_states(which):
        return {"uniformity": residuals, "cosine": cosines}
    angles = which.inputs == ("theta",)
    x = drawn.itself.inputs[-1]
    for layer in range(DEPTHS + 1):
        if layer:
            sample = which.of_vectors(x)
            x = which.forward(*sample.inputs, **sample.options)
        seen = np.concatenate([np.cos(x), np.sin(x)], axis=-1) if angles else x
        if not np.isfinite(seen).all():
            break
        residuals[layer], cosines[layer] = tables.residual(seen), tables.mean_cosine(seen)
    return {"uniformity": residuals, "cosine": cosines}


def _order(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    """How far outputs are from following their tokens to other places, relative to the outputs."""
    if is_of_states(which):
        return {"order_sensitivity": np.nan, "order_sensitivity_causal": np.nan}
    order = np.random.default_rng(drawn.seed).permutation(drawn.itself.inputs[-1].shape[-2])

    def change(**options) -> float:
        outs = []
        for x in (drawn.itself.inputs[-1], drawn.itself.inputs[-1][..., order, :]):
            sample = _with(which, which.of_vectors(x), **options)
            if sample is None:
                return np.nan
            outs.append(which.forward(*sample.inputs, **sample.options))
        size = float(np.linalg.norm(outs[0]))
        return float(np.linalg.norm(outs[0][..., order, :] - outs[1])) / size if size > 0 else np.nan

    return {"order_sensitivity": change(), "order_sensitivity_causal": change(causal=True)}


def _cost(which: Mechanism, drawn: Drawn) -> dict[str, Any]:
    """Seconds, best of three after a first call, and the most memory that NumPy held in between."""
    found = dict.fromkeys(("seconds_forward", "seconds_gradient", "peak_bytes"), np.nan)
    if not drawn.timing:
        return found
    sample = drawn.sample

    def forward():
        return which.forward(*sample.inputs, **sample.options)

    def both():
        out, gradients = derivatives.pullback_of(which, sample)
        gradients(np.ones_like(out))

    found["seconds_forward"] = _seconds(forward)
    last = forward if is_of_states(which) else both
    if last is both:
        found["seconds_gradient"] = _seconds(both)
    own = not tracemalloc.is_tracing()
    if own:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        last()
        found["peak_bytes"] = float(tracemalloc.get_traced_memory()[1] - before)
    finally:
        if own:
            tracemalloc.stop()
    return found


def _seconds(work: Callable) -> float:
    work()
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


_MEASURES = (_claims, _gram, _of_weights, _limits, _slopes, _depth, _order, _cost)
