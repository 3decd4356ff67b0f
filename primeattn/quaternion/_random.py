"""Random rotations."""

import numpy as np

from .._runtime import checks


def random(shape: int | tuple[int, ...], rng: int | np.random.Generator | None = None, dtype=float) -> np.ndarray:
    """Unit quaternions distributed uniformly over the sphere S^3: uniform random rotations.

    Parameters
    ----------
    shape : int or tuple of int
        Leading shape; the result has one more axis, of length 4.
    rng : int, numpy.random.Generator or None
        Seed or generator; None draws fresh entropy.
    dtype : float64 or float32

    Returns
    -------
    ndarray, shape (*shape, 4)
        float32 values are float64 values rounded: the same seed gives the same rotations.

    Raises
    ------
    TypeError
        For any other dtype, or a shape that is not made of integers >= 0.

    Notes
    -----
    Four independent normal numbers, normalised.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.quaternion.random(2, rng=0).shape
    (2, 4)
    """
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise TypeError(f"dtype is {dtype}: numpy.float32 or numpy.float64 is wanted")
    lead = shape if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) and n >= 0 for n in lead):
        raise TypeError(f"shape is {shape!r}: an integer >= 0, or a tuple of such, is wanted")
    q = checks.as_generator(rng).standard_normal((*lead, 4))
    q /= np.sqrt(np.einsum("...i,...i->...", q, q))[..., None]
    return q.astype(dtype, copy=False)
