"""All that is needed to go on to the same bits, in one .npz file without pickle, written whole or not at all.

A folder holds ``checkpoint.npz``, which is the truth, and three files for others to read, made from it: ``model.npz``,
``metrics.jsonl`` and ``run.json``.
"""

import json
import os
import time
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .._runtime.files import whole, write_whole

FORMAT = "primeattn.training/1"
_SHARE = 0.05  # of the time may go into writing
_OPTIMIZER = "optimizer/"


class State(NamedTuple):
    """Where a run is.

    Attributes
    ----------
    values : ndarray of float, shape (P,)
        All parameters.
    best : ndarray of float, shape (P,) or (0,)
        Those of the best evaluation, where they are kept.
    optimizer : dict of str to ndarray
    progress : dict
        Steps, rows of metrics, losses since the last row, seconds; JSON.
    """

    values: np.ndarray
    best: np.ndarray
    optimizer: dict[str, np.ndarray]
    progress: dict[str, Any]


class Folder:
    """Where a run is kept.

    Parameters
    ----------
    path : path-like
        Made if need be; its parent must be there.
    identity : dict
        What makes the run, ready for JSON; a checkpoint of another run is refused.
    every : float
        Seconds between two writings, at least; more where writing takes long.
    """

    def __init__(self, path: Any, identity: dict[str, Any], every: float):
        if not isinstance(path, str | bytes | os.PathLike) or not os.fspath(path):
            raise ValueError(f"checkpoint is {path!r}: the name of a folder is wanted")
        self.path = Path(os.fsdecode(path))
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint is {os.fspath(path)!r}: there is no folder {self.path.parent}")
        self._folder_or_nothing()
        self.identity = json.loads(json.dumps(identity))
        self._every = every
        self._due = time.monotonic() + every
        self._about: dict[str, Any] = {}
        self._seen: tuple[int, ...] = ()  # what marks the checkpoint that this run wrote or read last

    def _folder_or_nothing(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise NotADirectoryError(f"checkpoint is {os.fspath(self.path)!r}: a file; name a folder")

    def _made(self) -> None:
        """The folder is there, even if somebody has deleted it meanwhile."""
        self._folder_or_nothing()
        self.path.mkdir(parents=True, exist_ok=True)

    def _mark(self) -> tuple[int, ...]:
        try:
            found = self.checkpoint.stat()
        except OSError:
            return ()
        return found.st_ino, found.st_mtime_ns, found.st_size

    @property
    def last_good(self) -> str:
        """The checkpoint, if this run has written or read one and it is still there."""
        return os.fspath(self.checkpoint) if self._seen and self.checkpoint.exists() else ""

    def damaged(self, error: object) -> ValueError:
        """The error to raise for a checkpoint that holds something else."""
        return ValueError(
            f"checkpoint {self.checkpoint} is damaged, or none of this version: delete it, or name another folder "
            f"({error})"
        )

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.npz"

    def read(self) -> State | None:
        """What was written last; None if nothing was.

        Raises
        ------
        ValueError
            For a file that is damaged, or of another run.
        """
        place = self.checkpoint
        if not place.exists():
            return None
        try:
            with np.load(place, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            if str(arrays.pop("format")) != FORMAT:
                raise ValueError("another format")
            identity = json.loads(str(arrays.pop("identity")))
            progress = json.loads(str(arrays.pop("progress")))
            values, best = arrays.pop("values"), arrays.pop("best")
        except (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, zlib.error, NotImplementedError) as error:
            raise self.damaged(error) from error
        if identity != self.identity:
            raise ValueError(
                f"checkpoint {place} is of another run ({difference(identity, self.identity)}): "
                "name another folder, or begin anew in this one with resume=False (--fresh on the command line)"
            )
        self._seen = self._mark()
        optimizer = {name.removeprefix(_OPTIMIZER): x for name, x in arrays.items() if name.startswith(_OPTIMIZER)}
        return State(values, best, optimizer, progress)

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._due

    def write(self, state: State) -> None:
        """Replace the checkpoint; warn if another run has replaced it meanwhile."""
        begun = time.monotonic()
        self._made()
        if self._seen and self._mark() not in ((), self._seen):
            warnings.warn(
                f"{self.checkpoint} was written by another run meanwhile: give each a folder of its own",
                RuntimeWarning,
                stacklevel=2,
            )
        optimizer = {_OPTIMIZER + name: np.asarray(x) for name, x in state.optimizer.items()}
        texts = {
            "format": FORMAT,
            "identity": json.dumps(self.identity),
            "progress": json.dumps(state.progress),
        }
        with whole(self.checkpoint) as beside, open(beside, "wb") as file:
            np.savez(
                file,
                **{name: np.array(content) for name, content in texts.items()},  # type: ignore[arg-type]
                values=state.values,
                best=state.best,
                **optimizer,  # type: ignore[arg-type]
            )
        self._seen = self._mark()
        now = time.monotonic()
        self._due = now + max(self._every, (now - begun) / _SHARE)

    def save(self, model, about: dict[str, Any]) -> None:
        """``model.npz``, which a model is loaded from, and ``run.json``, which says what it was made of."""
        self._made()
        with whole(self.path / "model.npz") as beside:
            model.save(beside)
        if about != self._about or not (self.path / "run.json").exists():
            write_whole(self.path / "run.json", json.dumps(about, indent=1, ensure_ascii=False))
            self._about = about


def difference(there: Any, here: Any, name: str = "") -> str:
    """The first thing in which two identities differ, for a message.

    Examples
    --------
    >>> difference({"batch": 8, "task": {"n": 2}}, {"batch": 8, "task": {"n": 4}})
    'task n is 2 there and 4 here'
    """
    if isinstance(there, dict) and isinstance(here, dict):
        for key in {**there, **here}:
            if there.get(key) != here.get(key):
                return difference(there.get(key), here.get(key), f"{name} {key}".strip())
    return f"{name} is {there!r} there and {here!r} here"
