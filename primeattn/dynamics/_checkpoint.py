"""All that is needed to go on to the same bits, in one .npz file without pickle, written whole or not at all."""

import hashlib
import os
import time
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from .._runtime.files import whole

FORMAT = "primeattn.simulation/1"
_SHARE = 0.05  # of the time may go into writing


def fingerprint(*parts: Any) -> str:
    """SHA-256 over arrays, numbers and text, nested as they come."""
    sha = hashlib.sha256()
    for part in _leaves(parts):
        if isinstance(part, np.ndarray):
            sha.update(f"{part.dtype.str}{part.shape}".encode())
            sha.update(np.ascontiguousarray(part).data)
        else:
            sha.update(f"{type(part).__name__}{part!r};".encode())
    return sha.hexdigest()


def _leaves(x: Any) -> Iterable[Any]:
    if isinstance(x, tuple | list):
        for part in x:
            yield from _leaves(part)
    else:
        yield x


class Checkpoint:
    """A file that is rewritten now and then.

    Parameters
    ----------
    path : path_like
    identity : str
        Fingerprint of the run; a file of another run is refused.
    every : float
        Seconds between two writings, at least; more where writing takes long.
    """

    def __init__(self, path: Any, identity: str, every: float):
        self.path, self._identity, self._every = Path(os.fsdecode(path)), identity, every
        self._due = time.monotonic() + every
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint is {os.fspath(path)!r}: there is no folder {self.path.parent}")

    def read(self) -> dict[str, np.ndarray] | None:
        """What was written last; None if nothing was.

        Raises
        ------
        ValueError
            For a file that is damaged, or of another run.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if str(arrays.pop("format")) != FORMAT:
                raise ValueError("another format")
            identity = str(arrays.pop("identity"))
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise ValueError(
                f"checkpoint {self.path} is damaged, or none of this version: delete it, or name another ({error})"
            ) from error
        if identity != self._identity:
            raise ValueError(
                f"checkpoint {self.path} is of another run (model, times, method, initial state, seed or observables "
                "differ): delete it, or name another"
            )
        return arrays

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._due

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        """Replace the file."""
        begun = time.monotonic()
        with whole(self.path) as beside, open(beside, "wb") as file:
            np.savez(file, format=np.array(FORMAT), identity=np.array(self._identity), **arrays)  # type: ignore[arg-type]
        now = time.monotonic()
        self._due = now + max(self._every, (now - begun) / _SHARE)
