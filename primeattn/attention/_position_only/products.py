"""What tables and convolutions do to values on the CPU: GEMM of BLAS, FFT of SciPy (pocketfft)."""

import math

import numpy as np

from ..._runtime import linalg
from ..._runtime.owners import share
from .._inputs import flat
from .call import Call


def table_mix(call: Call, table, v):
    """y (tables, queries, columns), flat."""
    s = call.shape
    table, v = table.reshape(-1, s.queries, s.keys), v.reshape(-1, s.keys, s.columns)
    return _products(table, v, (s.queries, s.columns)).reshape(-1)


def table_back(call: Call, table, dout, v):
    """dL/dv and dL/dA, flat."""
    s = call.shape
    table, dout = table.reshape(-1, s.queries, s.keys), dout.reshape(-1, s.queries, s.columns)
    v = v.reshape(-1, s.keys, s.columns)
    dv = _products(table, dout, (s.keys, s.columns), turn_a=True)
    return dv.reshape(-1), _products(dout, v, (s.queries, s.keys), turn_b=True).reshape(-1)


def _products(a, b, shape: tuple[int, int], **turned: bool):
    """Of each table; tables are shared by the threads, because BLAS is held to one."""
    out = np.empty((len(a), *shape), a.dtype)
    a, b = (flat(x).reshape(x.shape) for x in (a, b))

    def work(start, stop):
        for i in range(start, stop):
            linalg.multiply(a[i], b[i], out[i], **turned)

    with linalg.single_threaded():
        share(work, len(out), 1)
    return out


def lengths(call: Call) -> tuple[int, ...]:
    """Of the transforms: a cyclic group's own; for shifts, room so that nothing comes around."""
    if call.symmetry == "shift":
        from scipy.fft import next_fast_len

        return (next_fast_len(2 * call.shape.keys - 1, real=True),)
    return call.symmetry.axes


def transformable(call: Call) -> bool:
    """Whether rows are the shifts of one another: a product of cyclic groups that goes all around, or lags."""
    if call.symmetry is None or call.masked or not call.shape.keys:
        return False
    return call.symmetry == "shift" or (bool(call.symmetry.axes) and not call.shape.causal)


def faster_by_convolution(call: Call) -> bool:
    """Measured on two AVX-512 cores, float32 and float64: see the theory page. Causal rows stay exactly causal."""
    return transformable(call) and call.symmetry != "shift" and call.shape.keys >= 128


class Convolution:
    """y = w * v over the group, its gradients, and the softmax of w."""

    def __init__(self, call: Call):
        from scipy import fft

        self.call, self.fft, s = call, fft, call.shape
        self.lengths = lengths(call)
        self.axes = tuple(range(1, 1 + len(self.lengths)))
        alpha = call.alpha.reshape(-1, s.parameters)[call.alpha_at // max(s.parameters, 1)][:, : s.keys]
        self.w, self.total = alpha, None
        if s.softmax:
            with np.errstate(invalid="ignore"):
                self.w = np.exp(alpha - alpha.max(axis=-1, keepdims=True))
            if call.symmetry == "shift":
                self.total = np.cumsum(self.w, axis=-1, dtype=np.float64).astype(alpha.dtype)[..., None]
            else:
                self.w = self.w / self.w.sum(axis=-1, keepdims=True)
        self.spectrum = self._forward(self.w[..., None])
        self.v = self._forward(call.packed(call.v, s.keys).reshape(-1, s.keys, s.columns))
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # `fine` sees to it
            out = self._inverse(self.spectrum * self.v)
            self.out = out if self.total is None else out / self.total

    def fine(self) -> bool:
        """False where lags were too far apart in size, or something is not finite: the table then."""
        small = np.finfo(self.w.dtype).tiny * 2.0**60
        return bool(np.isfinite(self.out).all()) and (self.total is None or bool((self.total > small).all()))

    def _forward(self, x):
        """(tables, tokens, columns) to the spectrum."""
        grid = x.shape[1:2] if self.call.symmetry == "shift" else self.lengths
        return self.fft.rfftn(x.reshape(len(x), *grid, -1), self.lengths, self.axes)

    def _inverse(self, spectrum):
        keys = self.call.shape.keys
        x = self.fft.irfftn(spectrum, self.lengths, self.axes)
        return np.ascontiguousarray(x.reshape(len(x), math.prod(self.lengths), -1)[:, :keys])

    def backward(self, dout):
        """dL/dv, flat, and dL/dalpha (tables, parameters)."""
        call, s = self.call, self.call.shape
        g = dout.reshape(-1, s.keys, s.columns)
        g = g if self.total is None else g / self.total
        spectrum = self._forward(g)
        dv = self._inverse(spectrum * np.conj(self.spectrum))
        dw = self._inverse((spectrum * np.conj(self.v)).sum(axis=-1, keepdims=True))[..., 0]
        if s.softmax and call.symmetry == "shift":
            # r_i = sum_{n <= i} w_n, so w_n also meets -<G_i, y_i> / r_i of all i >= n
            c = (g * self.out).sum(axis=-1)
            dw = self.w * (dw - np.cumsum(c[:, ::-1], axis=-1)[:, ::-1])
        elif s.softmax:
            dw = self.w * (dw - (self.w * dw).sum(axis=-1, keepdims=True))
        full = np.zeros((len(dw), s.parameters), dw.dtype)
        full[:, : s.keys] = dw
        return dv.reshape(-1), full
