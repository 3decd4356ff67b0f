"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

_OVERHEAD = 1 << 16  # bytes of a small netCDF file beyond its data
_AT_ONCE = 1 << 30  # bytes; file systems that cannot reserve room write it


@contextlib.contextmanager
def whole(path, data: int = 0) -> Iterator[Path]:
    """An empty file beside the target, renamed to it at the end: nobody ever meets half a file.

    Where the bytes of ``data`` to come are told, a disk without room for them is refused before they are written: HDF5
    crashes the process, with all that is in its memory, after a write that failed.

    A link stays a link and a mode stays a mode; a file that others may not read is not theirs while it grows, either.

    Raises
    ------
    OSError
        With the target as its ``filename``, whatever was being written.
    """
    target = Path(os.path.realpath(os.fsdecode(path)))
    beside = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
        os.close(os.open(beside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else 0o600))
        if data:
            _reserve(beside, data + _OVERHEAD)
        yield beside
        if mode is not None:
            beside.chmod(mode)
        with open(beside, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(beside, target)
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())  # HDF5's own may be lines long, without a number
        raise OSError(error.errno or errno.EIO, reason, os.fspath(path)) from error
    finally:
        with contextlib.suppress(OSError):  # as that of a folder that cannot be written: the first error says more
            beside.unlink()


def _reserve(path: Path, size: int) -> None:
    """Raises OSError if the file cannot grow to that size, for a full disk, a quota or a limit of the process."""
    free = shutil.disk_usage(path.parent).free
    if size > free:
        raise OSError(errno.ENOSPC, f"no room: {size / 1e6:.3g} MB are wanted but {free / 1e6:.3g} MB are free")
    if hasattr(os, "posix_fallocate") and size <= _AT_ONCE:
        with open(path, "r+b") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, size)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
                    raise
            file.truncate(0)


def write_netcdf(path, data, **options) -> None:
    """Write an xarray.Dataset, whole or not at all; ``options`` are those of its ``to_netcdf``."""
    with whole(path, data.nbytes) as beside:
        data.to_netcdf(beside, engine="h5netcdf", **options)


def write_whole(path: Path, content: bytes | str) -> Path:
    """Write a file, whole or not at all."""
    with whole(path) as beside:
        beside.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
    return path
