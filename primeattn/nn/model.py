"""A language model: a list of layers, its loss, and the gradient from the same list reversed."""

import errno
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any

import numba
import numpy as np

from .._runtime import devices, linalg
from .._runtime.arguments import true_or_false, whole_number, whole_numbers
from .._runtime.checks import as_floating
from .._runtime.files import whole
from .._runtime.owners import alone, share
from . import phases, transformer
from .checkpointed import Checkpointed
from .cross_entropy import CROSS_ENTROPY, total_loss
from .decode import check_choice, stream
from .elementwise import ADD
from .layer import Layer, flat
from .mixing import mechanism_of
from .parameters import Parameters, floating
from .tape import Room, Tape

FORMAT = 1
#: What tokens of a mechanism are -> the layers of its model.
SPACES = {"vectors": transformer.build, "angles": phases.build}
_CHUNK = 1 << 18  # numbers that a layer returns for a chunk: with a quarter, Python's share cost two threads 4 %


class LanguageModel:
    """Next-token prediction with a mechanism of ``MECHANISMS``.

    Parameters
    ----------
    mechanism : str
    layers : int
        Blocks of attention and feed-forward map.
    width : int or list of int
        Numbers of a token; angles, for a mechanism of angles. A list has one for each layer: a linear map stands
        wherever the width changes. Heads and hidden may then be lists, too.
    heads : int or list of int
    context : int
        Tokens that the model sees at once.
    vocabulary : int
        Tokens are integers below.
    rng : int or numpy Generator
        Draws the first parameters.
    dtype : {"float32", "float64"}
    hidden : int, optional
        Hidden numbers of the feed-forward map; 8/3 of the width by default, in multiples of 64 if it is that large, and
        4 times the width for "gelu".
    positions : {"rotary", "learned", "none"}, optional
        How tokens know where they stand; by default as the mechanism needs.
    checkpointing : bool
        Keep only the inputs of layers, and run them again before their backward pass: less memory, more time.
    **options
        ``norm`` ("rms", "layer"), ``feed_forward`` ("swiglu", "gelu", "none"), ``tied`` (whether the read-out uses the
        table of the embedding, True by default), ``dropout`` (probability, of what is added to the residual stream).
        A model of angles has ``feed_forward`` ("swiglu", "modes", "none") and ``tied``. The others are those of the
        mechanism as a layer, such as ``window``; a wrong name is refused with those there are.

    Attributes
    ----------
    config : dict
        ``LanguageModel(**model.config)`` has the same architecture.
    parameters : Parameters
    layers : list of (str, Layer)

    Examples
    --------
    >>> import primeattn as pa
    >>> model = pa.nn.LanguageModel(layers=2, width=16, heads=2, context=8, vocabulary=10)
    >>> model.logits([[1, 2, 3]]).shape
    (1, 3, 10)
    """

    def __init__(
        self,
        mechanism: str = "dot_product",
        layers: int = 6,
        width: int | list[int] = 128,
        heads: int | list[int] = 4,
        context: int = 256,
        vocabulary: int = 256,
        rng: Any = 0,
        dtype: Any = "float32",
        *,
        hidden: int | list[int] | None = None,
        positions: str | None = None,
        checkpointing: bool = False,
        **options: Any,
    ):
        build = SPACES[mechanism_of(mechanism)[1].space]
        width, heads = whole_numbers("width", width), whole_numbers("heads", heads)
        options = {name: x.item() if isinstance(x, np.generic) else x for name, x in options.items()}
        if "rotary" in options:
            raise ValueError(f"rotary is {options['rotary']!r}: pass positions='rotary', 'learned' or 'none' instead")
        self.config: dict[str, Any] = {
            "mechanism": mechanism,
            "layers": whole_number("layers", layers),
            "width": width,
            "heads": heads,
            "context": whole_number("context", context),
            "vocabulary": whole_number("vocabulary", vocabulary),
            "dtype": floating(dtype).name,
            "hidden": _hidden(width, options.get("feed_forward"))
            if hidden is None
            else whole_numbers("hidden", hidden),
            "positions": positions,
            "checkpointing": true_or_false("checkpointing", checkpointing),
        }
        true_or_false("tied", options.get("tied", True))
        self.layers: list[tuple[str, Layer]] = build(self.config, options)
        if checkpointing:  # what the first and the last layer keep is little, or needed at once
            self.layers[1:-1] = [(name, Checkpointed(layer)) for name, layer in self.layers[1:-1]]
        self.config |= options
        self._widest = int(np.max(width))
        self._declared = {name: layer.parameters() for name, layer in self.layers}
        self.parameters = Parameters(self._declared, rng, dtype)
        self._place()

    def __repr__(self) -> str:
        given = self.config
        sizes = ", ".join(f"{name} {given[name]}" for name in ("layers", "width", "heads", "context", "vocabulary"))
        return f"LanguageModel({given['mechanism']!r}: {sizes}; {len(self.parameters):,} parameters, {given['dtype']})"

    def _place(self) -> None:
        """Views of the parameters, and room for passes, where the values are now."""
        values = self.parameters.values
        self._views = self._tree(values)
        self._like = values if devices.is_device_array(values) else None
        self._rooms: list[Room] = []
        self._gradients: list[tuple[Any, list]] = []
        self._result: tuple[Any, list] = (None, [])

    def _tree(self, buffer) -> list[dict[str, Any]]:
        """The views of each layer in a flat buffer, those that it borrows included."""
        return [
            self.parameters.tree(self._declared[name], f"{name}.", buffer)
            | {own: self.parameters.view(full, buffer) for own, full in layer.borrows.items()}
            for name, layer in self.layers
        ]

    # passes

    def _forward(self, ids, tape: Tape):
        x = ids
        for (_, layer), p in zip(self.layers, self._views, strict=True):
            x = layer.forward(p, x, tape)
            tape.close_layer(x)
        return x

    def _backward(self, dx, tape: Tape, gradients) -> None:
        for (_, layer), p, g in zip(reversed(self.layers), reversed(self._views), reversed(gradients), strict=True):
            tape.open_layer()
            dx = layer.backward(p, dx, tape, g)
            tape.shut_layer(dx)

    def _share(self, work, sequences: int, workers: int) -> None:
        """``work(worker, start, stop)`` for contiguous shares of the sequences, each on a thread of its own."""
        if workers == 1:  # what is inside may share, if there is another thread; to ask takes 3 us
            with linalg.single_threaded(), alone() if numba.get_num_threads() == 1 else nullcontext():
                work(0, 0, sequences)
            return

        def one(first, last):
            before = numba.get_num_threads()
            numba.set_num_threads(1)
            try:
                with alone():
                    for worker in range(first, last):
                        work(worker, sequences * worker // workers, sequences * (worker + 1) // workers)
            finally:
                numba.set_num_threads(before)

        with linalg.single_threaded():
            share(one, workers, 1)

    def _workers(self, sequences: int) -> int:
        return 1 if self._like is not None else max(1, min(numba.get_num_threads(), sequences))

    def _room(self, worker: int) -> Room:
        while len(self._rooms) <= worker:
            self._rooms.append(Room(self.parameters.values.dtype, self._like))
        return self._rooms[worker]

    def _chunks(self, start: int, stop: int, tokens: int) -> Iterator[tuple[int, int]]:
        """Equal pieces of whole sequences, of about `_CHUNK` numbers if a sequence is not longer."""
        most = max(1, _CHUNK // max(tokens * self._widest, 1)) if self._like is None else stop - start
        pieces = -(-(stop - start) // most)
        for i in range(pieces):
            yield start + (stop - start) * i // pieces, start + (stop - start) * (i + 1) // pieces

    def loss_and_gradient(
        self, inputs: Any, targets: Any, weights: Any = None, *, seed: int = 0, step: int = 0, out: Any = None
    ) -> tuple[float, Any]:
        """Mean loss of the positions that count, and its gradient.

        Parameters
        ----------
        inputs, targets : array_like of int, shape (B, T)
        weights : array_like of float, shape (B, T), optional
            How much a position counts, finite and 0 or more; all the same by default.
        seed, step : int
            What dropout draws from.
        out : ndarray of float, optional
            A flat buffer for the gradient, of the shape and type of ``parameters.values``.

        Returns
        -------
        loss : float
            sum(weights * losses) / sum(weights), in nats.
        gradient : ndarray of float, shape (len(parameters),)
        """
        inputs, targets, weights = self._checked(inputs, targets, weights)
        sequences, tokens = inputs.shape
        workers = self._workers(sequences)
        gradient = self.parameters.zeros() if out is None else self._out(out)
        buffers = self._buffers(workers, gradient)
        sums: list[float] = [0.0] * workers

        def work(worker, start, stop):
            buffer, tree = buffers[worker]
            buffer[:] = 0  # not [...], which Numba's CUDA arrays do not know
            room = self._room(worker)
            for a, b in self._chunks(start, stop, tokens):
                tape = Tape(room, saving=True, training=True, seed=seed, step=step, first=a)
                logits = self._forward(self._put(inputs[a:b]), tape)
                w = weights[a:b].reshape(-1)
                losses = self._losses(logits, targets[a:b], w)
                sums[worker] += total_loss(losses, w)
                self._backward(logits, tape, tree)

        self._share(work, sequences, workers)
        for buffer, _ in buffers[1:]:
            ADD(gradient.size, buffer, gradient)
        return sum(sums), gradient

    def _out(self, out):
        """A buffer of the caller's, which is not that of the parameters."""
        self.parameters.check("out", out, writable=True)
        if self._like is None and np.may_share_memory(out, self.parameters.values):
            raise ValueError("out shares memory with parameters.values: pass a buffer of its own")
        return out

    def _losses(self, logits, targets, weights):
        """Losses in nats, flat; the logits become the gradient of sum(weights * losses)."""
        vocabulary = self.config["vocabulary"]
        losses = devices.empty(weights.size, logits.dtype, like=logits)
        CROSS_ENTROPY(
            weights.size, flat(logits), self._put(targets.reshape(-1)), self._put(weights), vocabulary, losses
        )
        return devices.to_host(losses)

    def _put(self, x):
        return np.ascontiguousarray(x) if self._like is None else devices.to_device(x)

    def _buffers(self, workers: int, gradient) -> list[tuple[Any, list]]:
        """A gradient buffer for every worker, the first of which is the result, and its views."""
        while len(self._gradients) < workers - 1:
            buffer = self.parameters.zeros()
            self._gradients.append((buffer, self._tree(buffer)))
        if self._result[0] is not gradient:
            self._result = gradient, self._tree(gradient)
        return [self._result, *self._gradients[: workers - 1]]

    def losses(self, inputs: Any, targets: Any) -> np.ndarray:
        """Losses in nats, shape (B, T), of each target given the inputs up to there."""
        inputs, targets, _ = self._checked(inputs, targets, None)
        out = np.empty(inputs.shape, self.parameters.values.dtype)
        ones = np.ones(inputs.size, out.dtype)

        def take(logits, a, b):
            n = out[a:b].size
            out[a:b] = self._losses(logits, targets[a:b], ones[:n]).reshape(out[a:b].shape)

        self._evaluate(inputs, take)
        return out

    def logits(self, inputs: Any) -> np.ndarray:
        """Scores of all tokens after each input, shape (B, T, vocabulary)."""
        inputs = self._ids("inputs", inputs)
        out = np.empty((*inputs.shape, self.config["vocabulary"]), self.parameters.values.dtype)

        def take(logits, a, b):
            out[a:b] = devices.to_host(logits)

        self._evaluate(inputs, take)
        return out

    def _evaluate(self, inputs, take) -> None:
        sequences, tokens = inputs.shape

        def work(worker, start, stop):
            room = self._room(worker)
            for a, b in self._chunks(start, stop, tokens):
                tape = Tape(room, saving=False)
                logits = self._forward(self._put(inputs[a:b]), tape)
                take(logits, a, b)
                tape.close_layer(None)

        self._share(work, sequences, self._workers(sequences))

    def stream(self, prompt: Any, *, temperature: float = 1.0, top_k: int | None = None, rng: Any = 0) -> Iterator[int]:
        """Tokens after the prompt, one by one and without end; each costs one step where the layers remember the past.

        Parameters
        ----------
        prompt : sequence of int
            At least one token; the last ``context`` of them count. When the window is full, it starts again with its
            last half.
        temperature : float
            Of the softmax that tokens are drawn from; 0 takes the best.
        top_k : int, optional
            Draw among so many of the best.
        rng : int or numpy Generator
        """
        check_choice(temperature, top_k)
        tokens = None if isinstance(prompt, str | bytes) else np.asarray(devices.to_host(prompt))
        if tokens is None or tokens.ndim != 1:
            raise ValueError(f"prompt is {prompt!r}: a sequence of tokens is wanted, such as [1, 2]")
        if not tokens.size:
            raise ValueError("the prompt is empty: pass at least one token")
        ids = self._ids("prompt", tokens[None, -self.config["context"] :])
        return stream(self, ids[0].tolist(), temperature, top_k, rng)

    def generate(
        self, prompt: Any, n: int, *, temperature: float = 1.0, top_k: int | None = None, rng: Any = 0
    ) -> np.ndarray:
        """The first ``n`` tokens of `stream`, shape (n,)."""
        n = whole_number("n", n, 0)
        return np.fromiter(islice(self.stream(prompt, temperature=temperature, top_k=top_k, rng=rng), n), np.int64)

    def first_not_finite(self, inputs: Any) -> str | None:
        """The name of the first layer whose output, for these inputs, holds NaN or inf; None if all is finite."""
        x, tape = self._put(self._ids("inputs", inputs)), Tape(self._room(0), saving=False)
        with linalg.single_threaded():
            for (name, layer), p in zip(self.layers, self._views, strict=True):
                x = layer.forward(p, x, tape)
                if not np.isfinite(devices.to_host(x)).all():
                    return name
        return None

    # checks

    def _ids(self, name: str, ids: Any) -> np.ndarray:
        ids = np.asarray(devices.to_host(ids))
        vocabulary, context = self.config["vocabulary"], self.config["context"]
        if ids.dtype.kind not in "iu" or ids.ndim != 2:
            raise ValueError(f"{name} is {ids.dtype} of shape {ids.shape}: integers (sequences, tokens) are wanted")
        if ids.shape[1] > context:
            raise ValueError(f"{name} has {ids.shape[1]} tokens a sequence: the context of this model is {context}")
        if ids.size and not (ids.min() >= 0 and ids.max() < vocabulary):
            raise ValueError(f"{name} holds {ids.min()} to {ids.max()}: tokens are 0 to {vocabulary - 1} here")
        return np.ascontiguousarray(ids, dtype=np.int64)

    def _checked(self, inputs, targets, weights):
        """ids, and weights that sum to 1."""
        inputs, targets = self._ids("inputs", inputs), self._ids("targets", targets)
        if inputs.shape != targets.shape:
            raise ValueError(f"inputs have shape {inputs.shape} but targets {targets.shape}: one target an input")
        if weights is None:
            weights = np.full(inputs.shape, 1 / max(inputs.size, 1))
        else:
            weights = as_floating("weights", devices.to_host(weights), dtype=np.float64)
            if weights.shape != inputs.shape:
                raise ValueError(f"weights have shape {weights.shape}: {inputs.shape} numbers >= 0 are wanted")
            if not np.all((weights >= 0) & (weights < np.inf)):
                raise ValueError("weights hold NaN, infinite or negative numbers: finite numbers >= 0 are wanted")
            with np.errstate(over="ignore"):
                total = weights.sum()
            if total == np.inf:  # only ratios count
                weights = weights / weights.max()
                total = weights.sum()
            weights = weights / total if total > 0 else weights
        return inputs, targets, weights.astype(self.parameters.values.dtype)

    # files and devices

    def to_device(self) -> "LanguageModel":
        """Move the parameters to CUDA; passes then run there."""
        self.parameters.values = devices.to_device(self.parameters.values)
        self._place()
        return self

    def to_host(self) -> "LanguageModel":
        """Move the parameters to host memory."""
        self.parameters.values = devices.to_host(self.parameters.values)
        self._place()
        return self

    def astype(self, dtype: Any) -> "LanguageModel":
        """A copy whose numbers have another type."""
        model = LanguageModel(**{**self.config, "dtype": dtype})
        model.parameters.values[...] = devices.to_host(self.parameters.values)
        return model

    def save(self, path: Any) -> None:
        """Write the model as an npz file, without pickle: the config as JSON, and the arrays by name.

        The file is written whole or not at all: what was there stays until all is written.

        Raises
        ------
        ValueError
            If parameters are not finite: `load` would refuse them.
        """
        header = json.dumps({"format": FORMAT, "config": self.config})
        arrays: dict[str, Any] = {f"parameter.{n}": x for n, x in self.parameters.copy().items()}
        for name, x in arrays.items():
            if not np.isfinite(x).all():
                raise ValueError(f"{name} holds NaN or infinite numbers: a file of them could not be read again")
        if os.path.exists(path) and not os.path.isfile(path):
            raise OSError(errno.EINVAL, "a folder, a device or a pipe; the name of a file is wanted", str(path))
        with whole(path) as beside, open(beside, "wb") as file:
            np.savez(file, header=np.array(header), **arrays)

    @classmethod
    def load(cls, path: Any) -> "LanguageModel":
        """Read a model that `save` wrote.

        Parameters
        ----------
        path : path-like
            The file, or the folder of a run, which holds it as ``model.npz``.

        Raises
        ------
        ValueError
            If the file is no model, is damaged, or is of a later version.
        """
        path = os.path.join(path, "model.npz") if os.path.isdir(path) else path
        with open(path, "rb") as file:  # FileNotFoundError and its like stay what they are
            try:
                return cls._read(file)
            except _Refused as error:
                raise ValueError(f"{path} {error}") from None
            except _BROKEN as error:
                said = f"no {error.args[0]}" if isinstance(error, KeyError) else error
                raise ValueError(
                    f"{path} is no model of primeattn or is damaged ({said}): write one by model.save"
                ) from error

    @classmethod
    def _read(cls, file) -> "LanguageModel":
        if not zipfile.is_zipfile(file):
            raise ValueError("it is no npz file, or its end is missing")
        file.seek(0)
        with np.load(file, allow_pickle=False) as arrays:
            if "header" not in arrays:
                raise _Refused("is no model: it has no header; write one by model.save")
            header = json.loads(str(arrays["header"]))
            if not isinstance(header, dict) or not isinstance(header.get("config"), dict):
                raise ValueError("its header is no JSON object with a config")
            if header["format"] > FORMAT:
                raise _Refused(f"has format {header['format']}: this version reads up to {FORMAT}")
            model = cls(**header["config"])
            for name, shape in model.parameters.shapes.items():
                x = arrays[f"parameter.{name}"]
                if x.shape != shape or x.dtype.kind != "f":
                    raise ValueError(f"{name} is {x.dtype} of shape {x.shape}: floats of shape {shape} are wanted")
                if not np.all(np.abs(x) <= np.finfo(model.parameters.values.dtype).max):
                    raise ValueError(f"{name} holds NaN or infinite numbers")
                model.parameters.view(name)[...] = x
        return model


class _Refused(ValueError):
    """A complaint that already says what is wrong."""


#: What a damaged file raises.
_BROKEN = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, EOFError, OSError, RuntimeError, NotImplementedError,
    SyntaxError, OverflowError, MemoryError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


def _hidden(width, feed_forward):
    if isinstance(width, list):
        return [_hidden(w, feed_forward) for w in width]
    if feed_forward == "gelu":
        return 4 * width
    hidden = 8 * width // 3
    return max(1, hidden // 64 * 64 if hidden >= 64 else hidden)
