"""Sizes of models with equal numbers of parameters, as comparisons need them."""

from typing import Any

from .model import LanguageModel


def sized(mechanism: str, parameters: int, *, width: int | None = None, heads: int = 4, **options: Any) -> dict:
    """Arguments of a `LanguageModel` that has so many parameters.

    Parameters
    ----------
    mechanism : str
    parameters : int
        How many are wanted.
    width : int, optional
        By default the largest multiple of twice the heads for which the model, with the usual feed-forward map, has no
        more.
    heads : int
    **options
        Others of `LanguageModel`, without ``hidden``.

    Returns
    -------
    dict
        ``LanguageModel(**dict)`` differs from the number by at most half of what one more hidden number in every
        feed-forward map brings; without such maps by what the width brings.

    Raises
    ------
    ValueError
        If the smallest model has more parameters.

    Notes
    -----
    The number of parameters is affine in the hidden width, so two models tell the slope.

    Examples
    --------
    >>> import primeattn as pa
    >>> common = dict(layers=2, context=32, vocabulary=64)
    >>> a, b = (pa.nn.sized(name, 50_000, **common) for name in ("dot_product", "kuramoto"))
    >>> [(c["width"], c["hidden"], len(pa.nn.LanguageModel(**c).parameters)) for c in (a, b)]
    [(40, 143, 49880), (40, 86, 50112)]
    """
    given = {**options, "mechanism": mechanism, "heads": heads}
    if "hidden" in given:
        raise ValueError("hidden is what is looked for: pass width=, or neither")
    if width is None:
        width = _widest(given, parameters, 2 * heads)
    given["width"] = width
    base = _count({**given, "hidden": 1})
    slope = _count({**given, "hidden": 2}) - base
    if base > parameters:
        raise ValueError(
            f"{parameters:,} parameters are wanted, but a {mechanism} of width {width} with one hidden number has "
            f"{base:,}: pass more parameters, a smaller width, fewer layers or another context"
        )
    return {**given, "hidden": 1 + round((parameters - base) / slope)} if slope else given


def _count(given: dict[str, Any]) -> int:
    return len(LanguageModel(**given).parameters)


def _widest(given: dict[str, Any], parameters: int, step: int) -> int:
    """The largest multiple of ``step`` whose model has no more parameters: it grows with the width."""
    low, high = 1, 2
    while _count({**given, "width": high * step}) <= parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        fits = _count({**given, "width": middle * step}) <= parameters
        low, high = (middle, high) if fits else (low, middle)
    return low * step
