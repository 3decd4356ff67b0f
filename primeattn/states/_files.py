"""States in one .npz file: versioned, without pickle, written atomically, and distrusted when read.

The file is an uncompressed zip of .npy members, as ``numpy.savez`` writes, so ``numpy.load`` opens it too:

    format        text, "primeattn.PrimeStates"
    version       int64
    labelled      bool: whether there is a member labels (a damaged directory may hide one)
    indptr, primes, amplitude, orientation, and maybe labels

Reading checks the names, and each member's dtype, shape and length before memory is taken for it; the zip's CRC-32
finds changed bytes; then every invariant of `PrimeStates` is checked again.
"""

import errno
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from .._runtime import files
from ..encode.arrays import StateArrays
from . import _validate
from ._batch import checked_labels

FORMAT = "primeattn.PrimeStates"
VERSION = 1
REQUIRED = ("format", "version", "labelled", "indptr", "primes", "amplitude", "orientation")
DTYPES = {
    "indptr": ("<i8",),
    "primes": ("<i8",),
    "amplitude": ("<c8", "<c16"),
    "orientation": ("<f4", "<f8"),
}
BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    OverflowError,
    NotImplementedError,  # a compression method that does not exist
    RuntimeError,  # an encrypted member
    SyntaxError,  # a .npy header that is not Python
    ValueError,  # the same, other versions of NumPy; UnicodeDecodeError too
    TypeError,
    MemoryError,
    OSError,  # an offset before the beginning
)


class Refused(ValueError):
    """A complaint that already says what is wrong."""


def save(path, arrays: StateArrays, labels: np.ndarray | None) -> None:
    """Write states and their labels."""
    members = {
        "format": np.array(FORMAT),
        "version": np.array(VERSION, "<i8"),
        "labelled": np.array(labels is not None),
    }
    members |= arrays._asdict()
    if labels is not None:
        members["labels"] = labels
    write(path, members)


def write(path, members: dict[str, np.ndarray]) -> None:
    """Write beside ``path``, then rename: a reader sees the old file or the whole new one."""
    with (
        files.whole(_target(path)) as draft,
        zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        for name, x in members.items():
            # a fixed date: the same states give the same bytes
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(entry, "w", force_zip64=True) as member:
                x = x.astype(x.dtype.newbyteorder("<"), copy=False)
                np.lib.format.write_array(member, x, version=(1, 0), allow_pickle=False)


def _target(path) -> Path:
    """The file that ``path`` leads to, through symbolic links."""
    target = Path(os.path.realpath(os.fsdecode(path))) if os.fspath(path) else Path()
    if not target.name:
        raise ValueError(f"path is {os.fspath(path)!r}: the name of a file is wanted, such as 'states.npz'")
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "a folder; the name of a file is wanted", str(path))
    if target.exists() and not target.is_file():
        raise OSError(errno.EINVAL, "a device or a pipe; the name of a file is wanted", str(path))
    if not target.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(target.parent))
    return target


def load(path) -> tuple[StateArrays, np.ndarray | None]:
    """Read and check states."""
    return read(path, _read, "PrimeStates.save")


def read(path, parse, writer: str):
    """``parse(file)``; every defect of the file is a ValueError that names it."""
    with open(path, "rb") as file:  # FileNotFoundError and its like stay what they are
        try:
            return parse(file)
        except Refused as error:
            raise ValueError(f"{os.fspath(path)}: {error}") from None
        except BROKEN as error:
            raise ValueError(
                f"{os.fspath(path)} is damaged, or is no file that {writer} wrote "
                f"({type(error).__name__}: {error}): write it again"
            ) from error


def _read(file) -> tuple[StateArrays, np.ndarray | None]:
    if not zipfile.is_zipfile(file):
        raise Refused("this is no .npz file, or its end is missing: pass a file that PrimeStates.save wrote")
    with zipfile.ZipFile(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if "format" not in names or str(member_of(archive, "format")) != FORMAT:
            raise Refused(
                f"this .npz file does not hold prime states (members: {', '.join(names[:8]) or 'none'}); for plain "
                f"arrays pass numpy.load(path)[...] to PrimeStates.from_arrays"
            )
        version = member_of(archive, "version")
        if version.shape != () or version != VERSION:
            raise Refused(f"the file has version {version} of the format, this primeattn reads {VERSION}: update it")
        if len(set(names)) != len(names) or set(names) - {"labels"} != set(REQUIRED):
            raise Refused(f"members are {', '.join(names)}; wanted: {', '.join(REQUIRED)}, and maybe labels")
        arrays = StateArrays(*(member_of(archive, name) for name in DTYPES))
        labelled = bool(member_of(archive, "labelled") == np.True_)
        if labelled != ("labels" in names):
            raise Refused(f"labels are {'missing' if labelled else 'not announced'}")
        labels = member_of(archive, "labels") if labelled else None
    arrays = checked(arrays)
    try:
        return arrays, checked_labels(labels, len(arrays.indptr) - 1)
    except (TypeError, ValueError) as error:
        raise Refused(str(error)) from None


def member_of(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """One array; nothing is allocated that the file does not really contain."""
    info = archive.getinfo(f"{name}.npy")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Refused(f"{name} is compressed by an unknown method")
    with archive.open(info) as member:
        major, minor = np.lib.format.read_magic(member)
        if (major, minor) == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        else:
            raise Refused(f"{name} has .npy version {major}.{minor}, wanted: 1.0")
        if dtype.hasobject or dtype.kind in "OV":
            raise Refused(f"{name} holds Python objects: they are never loaded, because loading them can run code")
        if name in DTYPES and dtype.newbyteorder("<").str not in DTYPES[name]:
            raise Refused(f"{name} has dtype {dtype}, wanted: {' or '.join(DTYPES[name])}")
        n_bytes = dtype.itemsize * int(np.prod(shape, dtype=object))
        if fortran and len(shape) > 1:
            raise Refused(f"{name} is in column-major order, wanted: row-major")
        if member.tell() + n_bytes != info.file_size or n_bytes < 0:
            raise Refused(f"{name} declares {n_bytes} bytes but the member holds {info.file_size - member.tell()}")
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise Refused(f"{name} declares two different sizes")
        out = np.empty(shape, dtype)
        _fill(member, out)
    return out.astype(dtype.newbyteorder("="), copy=False)


def _fill(member, out: np.ndarray) -> None:
    if out.nbytes:
        view = out.reshape(-1).view(np.uint8)
        block = 1 << 20  # each read makes a temporary of this size
        for start in range(0, len(view), block):
            chunk = member.read(min(block, len(view) - start))
            if len(chunk) != min(block, len(view) - start):
                raise EOFError("the member ends early")
            view[start : start + len(chunk)] = np.frombuffer(chunk, np.uint8)
    if member.read(1):  # also makes zipfile compare the checksum
        raise Refused("a member is longer than its array")


def checked(arrays: StateArrays) -> StateArrays:
    indptr, primes, amplitude, orientation = arrays
    if primes.ndim != 1 or indptr.ndim != 1:
        raise Refused(f"indptr has shape {indptr.shape} and primes {primes.shape}: one axis each is wanted")
    if (amplitude.itemsize == 8) != (orientation.itemsize == 4):
        raise Refused(f"amplitude is {amplitude.dtype} but orientation is {orientation.dtype}: one precision is wanted")
    try:
        _validate.check_indptr(indptr, len(primes))
        _validate.check_primes(indptr, primes)
        _validate.check_amplitude(indptr, primes, amplitude)
        if _validate.unit(indptr, primes, orientation) is not orientation:
            raise ValueError("orientation holds quaternions that are not of unit length")
        if _validate.ascending_order(indptr, primes) is not None:
            raise ValueError("primes are not ascending within a state")
    except ValueError as error:
        raise Refused(f"the file is intact but its content is not valid: {error}") from None
    return arrays
