"""An index in one .npz file: the states, their ids and the options of the score, distrusted when read."""

import json
import zipfile
from typing import Any, NamedTuple

import numpy as np

from .. import encode
from ..states import _files, _validate
from ._options import check_form
from ._profiles import StateArrays

FORMAT = "primeattn.Index"
VERSION = 1
STATES = tuple(_files.DTYPES)
OWN = ("format", "version", "options", "next", "ids", *STATES)
OPTIONS = {"kind": str, "weights": list, "normalizer": str, "overlap": str, "amplitude": bool}


class Content(NamedTuple):
    """What a file holds, checked."""

    options: dict[str, Any]
    next: int
    ids: np.ndarray
    states: StateArrays
    more: dict[str, np.ndarray]  # members of those who put an index into a file of their own


def complex_arrays(arrays: StateArrays) -> encode.StateArrays:
    """Flat arrays as those of `PrimeStates`; views."""
    indptr, primes, amplitude, orientation = arrays
    return encode.StateArrays(
        indptr, primes, amplitude.view(_validate.complex_dtype(amplitude.dtype)), orientation.reshape(-1, 4)
    )


def members(options: dict[str, Any], following: int, ids: np.ndarray, arrays: StateArrays) -> dict[str, np.ndarray]:
    """The arrays of a file, by name."""
    return {
        "format": np.array(FORMAT),
        "version": np.array(VERSION, "<i8"),
        "options": np.array(json.dumps(options, sort_keys=True)),
        "next": np.array(following, "<i8"),
        "ids": ids,
        **complex_arrays(arrays)._asdict(),
    }


def save(path, content: dict[str, np.ndarray]) -> None:
    """Write whole or not at all."""
    _files.write(path, content)


def load(path, *, form: str = FORMAT, writer: str = "Index.save", more: tuple[str, ...] = ()) -> Content:
    """Read and check a file of this format, or of one that adds members to it."""
    return _files.read(path, lambda file: _read(file, form, writer, more), writer)


def _read(file, form: str, writer: str, more: tuple[str, ...]) -> Content:
    if not zipfile.is_zipfile(file):
        raise _files.Refused(f"this is no .npz file, or its end is missing: pass a file that {writer} wrote")
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        found = str(_files.member_of(archive, "format")) if "format" in names else "no format"
        if found != form:
            raise _files.Refused(f"the file holds {found}, wanted: {form}, written by {writer}")
        version = _files.member_of(archive, "version")
        if version.shape != () or version != VERSION:
            raise _files.Refused(f"the file has version {version} of the format, this primeattn reads {VERSION}")
        if len(set(names)) != len(names) or set(names) != {*OWN, *more}:
            raise _files.Refused(f"members are {', '.join(names)}; wanted: {', '.join((*OWN, *more))}")
        content = {name: _files.member_of(archive, name) for name in names}
    arrays = _files.checked(encode.StateArrays(*(content[name] for name in STATES)))
    ids, following = content["ids"], content["next"]
    if following.shape != () or following.dtype != np.int64 or ids.dtype != np.int64:
        raise _files.Refused("ids and next are not int64")
    if ids.shape != (arrays.indptr.size - 1,) or (np.diff(ids, prepend=-1, append=following) <= 0).any():
        raise _files.Refused("the file is intact but its content is not valid: ids do not ascend from 0 to next - 1")
    return Content(
        _options(content["options"]),
        int(following),
        ids,
        StateArrays.of(arrays),
        {name: content[name] for name in more},
    )


def _options(text: np.ndarray) -> dict[str, Any]:
    if text.shape != () or text.dtype.kind != "U":
        raise _files.Refused("the options are no text")
    options = json.loads(str(text))
    if not isinstance(options, dict) or set(options) != set(OPTIONS):
        raise _files.Refused(f"the options of the score are not {', '.join(OPTIONS)}")
    for name, kind in OPTIONS.items():
        if not isinstance(options[name], kind):
            raise _files.Refused(f"option {name} is {options[name]!r}: a {kind.__name__} is wanted")
    try:
        check_form(**options)
    except (TypeError, ValueError) as error:
        raise _files.Refused(f"the options of the score are not valid: {error}") from None
    return {**options, "weights": tuple(options["weights"])}
