"""The property table: what each mechanism is, computed and not recalled."""

from typing import Any

import numpy as np

from .._runtime.checks import as_generator
from ..attention import Property
from ..states import PrimeStates
from ._counts import check_count
from ._measures import DEPTHS, FACTORS, LENGTHS, TOKENS, WIDTH, drawn_for, row_of
from ._subjects import check_points, subjects

CAUSAL_WARNING = (
    "a causal table is triangular: its eigenvalues are its diagonal, and the gap is 1 - max_{i>1} w_ii, which says how "
    "much tokens attend themselves and nothing of how fast they mix"
)
_JACOBIAN = "power iteration; J w by the complex step on the reference, J^T u by the hand-derived vjp"


def properties(
    mechanisms: Any = None,
    inputs: Any = None,
    rng: Any = 0,
    *,
    sets: int = 20,
    tokens: int = TOKENS,
    timing: bool = True,
) -> Any:
    r"""What mechanisms are: theorems on drawn samples, witnesses of what fails, and measures of weights and gradients.

    Parameters
    ----------
    mechanisms : str or sequence of str, optional
        Keys of ``attention.MECHANISMS``, "resonance:original", "resonance:kernel" (or records of mechanisms of your
        own). Default all of them.
    inputs : array_like of float, shape (n, d), or PrimeStates, optional
        Tokens that attend themselves (``of_vectors``); states for the kernels between states. Default: Gaussian samples
        of width 16, queries and keys drawn apart, and Gaussian vectors for kernels.
    rng : int or Generator
    sets : int
        Samples on which a claim that holds is tested.
    tokens : int
        Of what is drawn where inputs are not given.
    timing : bool
        Measure seconds and bytes, which no other run repeats exactly.

    Returns
    -------
    xarray.Dataset
        Dimensions: ``mechanism``; ``property``, names of ``attention.Property``; ``factor`` of the scores; ``depth``;
        ``length`` in tokens; ``argument``. NaN or "" where a measure has no meaning. Of each mechanism:

        * by property: ``verdict`` "holds", "fails" or "does not apply"; ``why``; ``violation``, the largest on
          ``tested`` samples, or that of the ``witness``
        * ``gram_smallest``, ``gram_largest``, ``gram_error``, ``gram_verdict``: eigenvalues of the kernel over the
          roots of its row sums, on the inputs, certified (see `certify`)
        * ``weight_low``, ``weight_high``, ``row_sum_error``; ``entropy``, ``entropy_least`` and ``entropy_bound`` of
          rows over log n; ``effective_rank``, ``stable_rank``, ``singular_ratio``, ``dobrushin``, ``spectral_gap``;
          of causal tables ``effective_rank_causal``, ``singular_ratio_causal``, and ``spectral_gap_causal``, whose
          attribute ``warning`` says why it is another thing
        * ``entropy_at``, ``jacobian_at`` by factor; ``limit_small``, ``limit_large``, ``lipschitz``
        * ``jacobian_norm`` by length, ``gradient_norm`` by argument, ``adjoint_error``
        * ``uniformity``, ``cosine`` by depth, layers without residual connections
        * ``order_sensitivity``, ``order_sensitivity_causal``
        * ``seconds_forward``, ``seconds_gradient``, ``peak_bytes``, of the samples above

    Raises
    ------
    ValueError
        For unknown names, fewer than two tokens, tokens that hold NaN, ``sets`` below 1.
    TypeError
        For prime states beside mechanisms of vectors.

    Notes
    -----
    A property "holds" by the proof that ``why`` names, and its theorem was tested on ``tested`` drawn samples; a sample
    that breaks it raises. It "fails" by a witness whose violation exceeds rounding a thousandfold. `counterexample`
    searches for the smallest witness and verifies it in exact arithmetic.

    Examples
    --------
    >>> import primeattn as pa
    >>> table = pa.study.properties(["dot_product", "expressive"], timing=False, sets=2)
    >>> table.verdict.sel(property="PSD").values.tolist()
    ['holds', 'fails']
    >>> table.limit_large.values.tolist()
    ['one-hot', 'uniform']
    """
    import xarray

    chosen = subjects(mechanisms)
    check_count("sets", sets)
    tokens = check_count("tokens", tokens, 2)
    points = None if inputs is None else check_points(inputs, least=2)
    seed = int(as_generator(rng).integers(2**63))
    rows = [row_of(which, drawn_for(which, points, sets, timing, seed, tokens)) for which in chosen]
    arguments = sorted({a for row in rows for a in row["gradient_norm"]}, key=lambda a: (len(a), a))
    for row in rows:
        row["gradient_norm"] = [row["gradient_norm"].get(a, np.nan) for a in arguments]
    variables = {
        name: (dims, np.array([row[name] for row in rows]), {"long_name": says, **_ATTRIBUTES.get(name, {})})
        for name, (dims, says) in _VARIABLES.items()
    }
    coords = {
        "mechanism": [which.name for which in chosen],
        "property": [p.name for p in Property],
        "means": ("property", [p.value for p in Property]),
        "factor": list(FACTORS),
        "depth": np.arange(DEPTHS + 1),
        "length": list(LENGTHS),
        "argument": arguments,
    }
    if points is None:
        shape: tuple[int, ...] = (tokens, WIDTH)
    else:
        shape = (len(points),) if isinstance(points, PrimeStates) else np.shape(points)
    given = str(rng) if isinstance(rng, int | np.integer) else "of a generator"
    about = {"inputs": "drawn" if points is None else "given", "shape": str(shape), "seed": given, "sets": sets}
    about["seed_of_samples"] = str(seed)
    return xarray.Dataset(variables, coords, attrs=about)


_ONE, _BY_PROPERTY = ("mechanism",), ("mechanism", "property")
_VARIABLES: dict[str, tuple[tuple[str, ...], str]] = {
    "verdict": (_BY_PROPERTY, "verdict"),
    "why": (_BY_PROPERTY, "proof, or reason of the failure"),
    "violation": (_BY_PROPERTY, "largest violation"),
    "tested": (_BY_PROPERTY, "samples"),
    "witness": (_BY_PROPERTY, "witness of the failure"),
    "gram_smallest": (_ONE, "smallest eigenvalue of the balanced kernel"),
    "gram_largest": (_ONE, "largest eigenvalue of the balanced kernel"),
    "gram_error": (_ONE, "bound on the error of the eigenvalues"),
    "gram_verdict": (_ONE, "sign of the smallest eigenvalue"),
    "weight_low": (_ONE, "smallest weight"),
    "weight_high": (_ONE, "largest weight"),
    "row_sum_error": (_ONE, "largest distance of a row sum from 1"),
    "entropy": (_ONE, "mean entropy of the rows over log n"),
    "entropy_least": (_ONE, "least entropy of a row over log n"),
    "entropy_bound": (_ONE, "lower bound of the entropy by the spectral norm of the scores"),
    "effective_rank": (_ONE, "exp of the entropy of the singular values"),
    "stable_rank": (_ONE, "squared Frobenius norm over squared spectral norm"),
    "singular_ratio": (_ONE, "first over second singular value"),
    "dobrushin": (_ONE, "Dobrushin coefficient"),
    "spectral_gap": (_ONE, "1 - |second eigenvalue|"),
    "spectral_gap_causal": (_ONE, "1 - |second eigenvalue|, causal"),
    "effective_rank_causal": (_ONE, "exp of the entropy of the singular values, causal"),
    "singular_ratio_causal": (_ONE, "first over second singular value, causal"),
    "entropy_at": (("mechanism", "factor"), "mean entropy over log n by the size of the scores"),
    "jacobian_at": (("mechanism", "factor"), "norm of the Jacobian by the size of queries and keys"),
    "limit_small": (_ONE, "weights for small scores"),
    "limit_large": (_ONE, "weights for large scores"),
    "lipschitz": (_ONE, "where the Jacobian grows"),
    "jacobian_norm": (("mechanism", "length"), "norm of the Jacobian by all inputs"),
    "gradient_norm": (("mechanism", "argument"), "norm of the gradient for a random upstream one of norm 1"),
    "adjoint_error": (_ONE, "|<J w, u> - <w, J^T u>|, relative"),
    "uniformity": (("mechanism", "depth"), "distance of the tokens from their mean, relative"),
    "cosine": (("mechanism", "depth"), "mean cosine of two tokens"),
    "order_sensitivity": (_ONE, "change of the outputs when tokens are reordered, relative"),
    "order_sensitivity_causal": (_ONE, "the same, causal"),
    "seconds_forward": (_ONE, "time of the output"),
    "seconds_gradient": (_ONE, "time of output and gradients"),
    "peak_bytes": (_ONE, "memory beyond inputs, output and gradients included"),
}
_ATTRIBUTES: dict[str, dict[str, Any]] = {
    "spectral_gap_causal": {"warning": CAUSAL_WARNING},
    "jacobian_norm": {
        "method": "power iteration; J w by the complex step on the reference, J^T u by the hand-derived vjp"
    },
    "jacobian_at": {
        "method": "power iteration; J w by the complex step on the reference, J^T u by the hand-derived vjp"
    },
    "gram_error": {"method": "Kahan's residual bound with rounding, see study.certify; of the weights as computed"},
    "seconds_forward": {"units": "s"},
    "seconds_gradient": {"units": "s"},
    "peak_bytes": {"units": "B"},
}
