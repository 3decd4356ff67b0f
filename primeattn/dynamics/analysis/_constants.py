"""What identical oscillators under a common field never change."""

from typing import Any

import numpy as np

from ..._runtime.checks import unmasked


def cross_ratios(theta: Any) -> np.ndarray:
    r"""The N - 3 constants of motion of identical oscillators that couple all to all by their first harmonic.

    Parameters
    ----------
    theta : array_like of float, shape (..., N)
        Phases, radians; N >= 4.

    Returns
    -------
    ndarray of float, shape (..., N - 3)
        Of neighbours i, i + 1, i + 2, i + 3. Infinite or NaN where two of them coincide.

    Raises
    ------
    ValueError
        For N < 4.

    Notes
    -----
    :math:`\theta_i' = \mathrm{Im}(H e^{-i\theta_i}) + \omega` moves the points :math:`z = e^{i\theta}` by Möbius maps
    of the circle, whatever H(t), and these keep

    .. math:: \frac{(z_p - z_r)(z_q - z_s)}{(z_p - z_s)(z_q - z_r)}
              = \frac{\sin\frac{\theta_p - \theta_r}{2} \sin\frac{\theta_q - \theta_s}{2}}
                     {\sin\frac{\theta_p - \theta_s}{2} \sin\frac{\theta_q - \theta_r}{2}}.

    References
    ----------
    S. Watanabe and S. H. Strogatz, "Constants of motion for superconducting Josephson arrays", Physica D 74 (1994);
    S. A. Marvel, R. E. Mirollo, S. H. Strogatz, Chaos 19 (2009).

    Examples
    --------
    >>> import numpy as np
    >>> from primeattn.dynamics import analysis
    >>> analysis.cross_ratios(np.arange(4) * np.pi / 2).round(6)
    array([2.])
    """
    theta = np.asarray(unmasked("theta", theta), float)
    if theta.ndim < 1 or theta.shape[-1] < 4:
        raise ValueError(f"theta has shape {theta.shape}: (..., N) with N >= 4 is wanted")
    p, q, r, s = (theta[..., i : theta.shape[-1] - 3 + i] for i in range(4))

    def chord(a, b):
        return np.sin((a - b) / 2)

    with np.errstate(divide="ignore", invalid="ignore"):
        return chord(p, r) * chord(q, s) / (chord(p, s) * chord(q, r))
