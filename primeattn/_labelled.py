"""The xarray boundary: DataArray in, DataArray out. xarray is imported only once a DataArray came in."""

import sys

import numpy as np


def is_labelled(x) -> bool:
    """True for an ``xarray.DataArray``; nobody can hold one without having imported xarray."""
    if type(x) is np.ndarray:
        return False
    xarray = sys.modules.get("xarray")
    return xarray is not None and isinstance(x, xarray.DataArray)


def any_labelled(*arrays) -> bool:
    return any(is_labelled(x) for x in arrays)


def refuse_out(out) -> None:
    if out is not None:
        raise TypeError("out= does not go with a DataArray: pass a.values to write into an array of your own")


def apply(function, operands, cores_in, cores_out, names):
    """Call ``function`` on plain arrays whose leading dimensions are broadcast by name.

    Parameters
    ----------
    function : callable
        Takes plain arrays; returns one array, or a tuple if ``cores_out`` has several entries.
    operands : sequence of DataArray or array_like
        Plain arrays broadcast by position against the result's leading dimensions.
    cores_in, cores_out : sequences of tuple of int
        Shape of the trailing component axes of each operand and of each result.
    names : dict
        From a component shape to the dimensions it gets where no operand has such components.

    Returns
    -------
    DataArray or tuple of DataArray

    Raises
    ------
    ValueError
        If shared dimensions carry different coordinates, or a component dimension is not the last one.
    """
    import xarray

    for x, core in zip(operands, cores_in, strict=True):
        if is_labelled(x) and x.ndim < len(core):
            raise ValueError(f"a DataArray has dimensions {x.dims}: its last must be components, of lengths {core}")
    dims = {(): (), **names}
    for x, core in reversed(list(zip(operands, cores_in, strict=True))):
        if is_labelled(x) and core:
            dims[core] = x.dims[-len(core) :]  # the first operand's wins
    inputs = [
        x.dims[len(x.dims) - len(core) :] if is_labelled(x) else dims[core]
        for x, core in zip(operands, cores_in, strict=True)
    ]
    outputs = [dims[core] for core in cores_out]
    components = {dim for wanted in (inputs, outputs) for one in wanted for dim in one}
    for x, core in zip(operands, cores_in, strict=True):
        for dim in x.dims[: len(x.dims) - len(core)] if is_labelled(x) else ():
            if dim in components:
                raise ValueError(
                    f"a DataArray has dimensions {x.dims}, but {dim!r} holds components in this call, and components "
                    f"come last: pass x.transpose(..., {dim!r}), or x.rename({{{dim!r}: 'another'}})"
                )
    lengths: dict = {}
    for wanted, cores in ((inputs, cores_in), (outputs, cores_out)):
        for one, core in zip(wanted, cores, strict=True):
            for dim, length in zip(one, core, strict=True):
                lengths.setdefault(dim, set()).add(length)
    return xarray.apply_ufunc(
        function,
        *operands,
        input_core_dims=inputs,
        output_core_dims=outputs,
        exclude_dims={dim for dim, several in lengths.items() if len(several) > 1},
        join="exact",
    )


def axis_number(x, axis, core: int):
    """Position of a leading dimension given by name or by number; None stays None."""
    lead = x.dims[: len(x.dims) - core]
    if not isinstance(axis, str):
        return axis
    if axis not in lead:
        raise ValueError(
            f"axis is {axis!r} but the leading dimensions are {lead}: name one of them, or pass its number"
        )
    return lead.index(axis)


def reduce(function, x, weights, axis, core: int):
    """Call ``function(values, weights, axis)`` and label what is left of the dimensions.

    ``axis`` is a name, a number among the leading dimensions, or None for all of them; weights that are a
    DataArray are broadcast by name.
    """
    import xarray

    if not is_labelled(x):
        raise TypeError("weights are a DataArray but the values are not: pass weights.values")
    number = axis_number(x, axis, core)
    split = len(x.dims) - core
    lead, components = x.dims[:split], x.dims[split:]
    if is_labelled(weights):
        template = x.isel(dict.fromkeys(components, 0), drop=True)
        template, weights = xarray.align(template, weights, join="exact")
        if not set(weights.dims) <= set(lead):
            raise ValueError(f"weights have dimensions {weights.dims}: only {lead} are wanted")
        weights = weights.broadcast_like(template).transpose(*lead).values
    values = function(x.values, weights, number)
    gone = set(lead) if number is None else {lead[number]}
    kept = {name: c for name, c in x.coords.items() if not gone & set(c.dims)}
    return xarray.DataArray(values, kept, [d for d in x.dims if d not in gone], name=x.name, attrs=x.attrs)
