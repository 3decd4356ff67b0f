"""Learning rates over the steps of a run."""

import math


def cosine(step: int, steps: int, warmup: int = 0, peak: float = 1.0, floor: float = 0.0) -> float:
    r"""Linear growth, then half a turn of the cosine down to a floor.

    Parameters
    ----------
    step : int
        From 0 on.
    steps : int
        Of the whole run; later ones get the floor.
    warmup : int
        Steps of growth, from peak / (warmup + 1) on.
    peak, floor : float

    Returns
    -------
    float

    Notes
    -----
    With :math:`x = (step - warmup) / (steps - 1 - warmup)` the rate is
    :math:`floor + (peak - floor) (1 + \cos \pi x) / 2`, so that the first step after the growth has the peak and the
    last one the floor.

    Examples
    --------
    >>> from primeattn import nn
    >>> [round(nn.cosine(step, 7, warmup=2, peak=0.3), 3) for step in range(8)]
    [0.1, 0.2, 0.3, 0.256, 0.15, 0.044, 0.0, 0.0]
    """
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    rest = max(1, steps - 1 - warmup)
    turn = min(1.0, (step - warmup) / rest)
    return floor + (peak - floor) * (1 + math.cos(math.pi * turn)) / 2


def constant(step: int, steps: int, warmup: int = 0, peak: float = 1.0, floor: float = 0.0) -> float:
    """Linear growth, then level.

    Parameters
    ----------
    step : int
        From 0 on.
    steps : int
        Not used: the rate of a step does not depend on how long the run is.
    warmup : int
        Steps of growth, from peak / (warmup + 1) on.
    peak : float
    floor : float
        Not used.

    Returns
    -------
    float

    Examples
    --------
    >>> from primeattn import nn
    >>> [round(nn.constant(step, 4, warmup=2, peak=0.3), 3) for step in range(4)]
    [0.1, 0.2, 0.3, 0.3]
    """
    return peak * min(1.0, (step + 1) / (warmup + 1))
