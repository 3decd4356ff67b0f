"""The xarray boundary: DataArray in, DataArray out. xarray is imported only once a DataArray came in."""

import sys


def is_labelled(x) -> bool:
    """True for an ``xarray.DataArray``; nobody can hold one without having imported xarray."""
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(x, xarray.DataArray)


def any_labelled(*arrays) -> bool:
    return "xarray" in sys.modules and any(is_labelled(x) for x in arrays)


def refuse_out(out) -> None:
    if out is not None:
        raise TypeError("out= does not go with a DataArray: pass a.values to write into an array of your own")


def apply(function, operands, cores_in, cores_out):
    """Call ``function`` on plain arrays whose leading dimensions are broadcast by name.

    Parameters
    ----------
    function : callable
        Takes plain arrays; returns one array, or a tuple if ``cores_out`` has several entries.
    operands : sequence of DataArray or array_like
        Plain arrays broadcast by position against the result's dimensions.
    cores_in, cores_out : sequences of int
        How many trailing axes of each operand and of each result are components.

    Raises
    ------
    ValueError
        If shared dimensions carry different coordinates.
    """
    raise NotImplementedError
