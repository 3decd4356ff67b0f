"""Whether a model's gradient is the derivative of its loss, array by array."""

from typing import Any, NamedTuple

import numpy as np

from .._runtime.checks import as_generator


class Checked(NamedTuple):
    """One array of parameters: slopes along a random direction, by the gradient and by differences of the loss."""

    name: str
    gradient: float
    differences: float
    error: float


class GradientReport(NamedTuple):
    """The report of `gradient_check`.

    Attributes
    ----------
    arrays : list of Checked
        The worst first.
    tolerance : float
    """

    arrays: list[Checked]
    tolerance: float

    @property
    def ok(self) -> bool:
        return all(x.error <= self.tolerance for x in self.arrays)

    def __str__(self) -> str:
        wide = max((len(x.name) for x in self.arrays), default=0)
        lines = [f"{'array':{wide}} {'gradient':>14} {'differences':>14} {'error':>9}"]
        for x in self.arrays:
            bad = "  WRONG" if not x.error <= self.tolerance else ""
            lines.append(f"{x.name:{wide}} {x.gradient:14.6e} {x.differences:14.6e} {x.error:9.1e}{bad}")
        return "\n".join(lines)


def gradient_check(
    model: Any, batch: Any, *, step: float = 1e-4, tolerance: float = 1e-7, rng: Any = 0, weights: Any = None
) -> GradientReport:
    r"""Compare the gradient of a model with differences of its loss, in float64, one array of parameters at a time.

    Parameters
    ----------
    model : LanguageModel
        Copied to float64 if it is not.
    batch : tuple of array_like of int, or task
        ``(inputs, targets)`` of shape (B, T); or anything with a method ``batch(rng, n)``.
    step : float
        Length of a step, relative to the size of the numbers of the array, at least 0.1.
    tolerance : float
        Largest relative error that passes.
    rng : int or numpy Generator
        Draws the directions.
    weights : array_like of float, optional
        As of ``model.loss_and_gradient``.

    Returns
    -------
    GradientReport
        Its ``ok`` says whether all arrays pass; ``str`` gives a table.

    Notes
    -----
    Along a random direction d in the numbers of an array, the slope <g, d> is compared with

    .. math:: \frac{4}{3}\frac{L(x + hd) - L(x - hd)}{2h} - \frac{1}{3}\frac{L(x + 2hd) - L(x - 2hd)}{4h},

    whose error is of order :math:`h^4`. The error is relative to the length of g times that of d over the square root
    of their size: a typical slope, so that a slope that happens to be near 0 does not count as an error.

    Examples
    --------
    >>> import numpy as np, primeattn as pa
    >>> model = pa.nn.LanguageModel(layers=1, width=8, heads=2, context=4, vocabulary=5)
    >>> ids = np.array([[0, 1, 2, 3, 4]])
    >>> pa.nn.gradient_check(model, (ids[:, :-1], ids[:, 1:])).ok
    True
    """
    rng = as_generator(rng)
    if hasattr(batch, "batch"):
        inputs, targets, weights = batch.batch(rng, 2)
    else:
        inputs, targets = batch
    if model.config["dtype"] != "float64":
        model = model.astype("float64")
    values = model.parameters.values
    _, gradient = model.loss_and_gradient(inputs, targets, weights)
    start = values.copy()

    def loss_at(where, moved):
        values[where] = start[where] + moved
        loss, _ = model.loss_and_gradient(inputs, targets, weights, out=scratch)
        values[where] = start[where]
        return loss

    scratch, found = np.empty_like(values), []
    for name in model.parameters.names:
        where = model.parameters.slices[name]
        d = rng.standard_normal(where.stop - where.start)
        h = step * max(float(np.sqrt(np.mean(start[where] ** 2))), 0.1)
        near, far = ((loss_at(where, k * h * d) - loss_at(where, -k * h * d)) / (2 * k * h) for k in (1, 2))
        differences, slope = (4 * near - far) / 3, float(gradient[where] @ d)
        typical = float(np.linalg.norm(gradient[where])) + 1e-12
        found.append(Checked(name, slope, differences, abs(slope - differences) / typical))
    return GradientReport(sorted(found, key=lambda x: -x.error), tolerance)
