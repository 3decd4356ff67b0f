"""Twisted states of a ring."""

import math

import numpy as np


def twisted_state_rate(n: int, neighbours: int, winding: int = 1) -> float:
    r"""The largest growth rate of a perturbation of theta_j = 2 pi q j / n on a ring, per unit of g; below 0: stable.

    Parameters
    ----------
    n : int
    neighbours : int
        R, on either side.
    winding : int
        q.

    Returns
    -------
    float

    Notes
    -----
    The Jacobian is circulant: :math:`\lambda_m = 2 \sum_{d=1}^R \cos(2\pi q d/n) (\cos(2\pi m d/n) - 1)`, m = 1 .. n -
    1.

    References
    ----------
    D. A. Wiley, S. H. Strogatz, M. Girvan, "The size of the sync basin", Chaos 16 (2006).

    Examples
    --------
    >>> from primeattn.dynamics import theory
    >>> theory.twisted_state_rate(300, 100) < 0, theory.twisted_state_rate(300, 105) < 0
    (True, False)
    """
    if not 1 <= neighbours <= (n - 1) // 2:
        raise ValueError(
            f"neighbours is {neighbours!r}: 1 to {(n - 1) // 2} on either side of a ring of {n} are wanted"
        )
    d = np.arange(1, neighbours + 1)
    heard = np.zeros(n)
    heard[d] = heard[-d] = np.cos(2 * math.pi * winding * d / n)
    return float((np.fft.fft(heard).real - heard.sum())[1:].max())
