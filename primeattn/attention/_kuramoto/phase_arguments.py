"""Arguments and results of the maps in ``phases`` and ``modes``: checks, shapes, labels."""

from ... import _labelled
from ..._runtime.checks import common_floating
from .._inputs import flat


def checked(shapes: dict[str, tuple[str, ...]], theta, **arrays):
    """theta (..., d) and the given arrays in one dtype, flat, with their shapes; letters stand for lengths.

    Labels of theta are kept for the results.
    """
    plain = theta.values if _labelled.is_labelled(theta) else theta
    given = {"theta": plain, **{name: x for name, x in arrays.items() if x is not None}}
    given = dict(zip(given, common_floating({}, **given), strict=True))
    shape = tuple(given["theta"].shape)
    if not shape or not shape[-1]:
        raise ValueError(f"theta has shape {shape}: (..., d) angles are wanted")
    lengths = {"d": shape[-1], "2d": 2 * shape[-1]}
    for name, letters in shapes.items():
        if name not in given:
            continue
        shape = tuple(given[name].shape)
        fits = len(shape) == len(letters) and all(
            lengths.setdefault(letter, n) == n for letter, n in zip(letters, shape, strict=False)
        )
        if not fits:
            wanted = ", ".join(str(lengths.get(letter, letter)) for letter in letters)
            raise ValueError(f"{name} has shape {shape} but theta has {lengths['d']} angles: ({wanted}) is wanted")
    return {name: flat(x) for name, x in given.items()}, {n: tuple(x.shape) for n, x in given.items()}


def labelled_out(flat, theta, shape, *, same: bool = False):
    """The result in its shape; labelled like theta, but for the last dimension unless that is the same."""
    x = flat.reshape(shape)
    if not _labelled.is_labelled(theta):
        return x
    if same:
        return theta.copy(data=x)
    import xarray

    coords = {name: c for name, c in theta.coords.items() if c.dims and theta.dims[-1] not in c.dims}
    return xarray.DataArray(x, dims=(*theta.dims[:-1], "feature"), coords=coords)
