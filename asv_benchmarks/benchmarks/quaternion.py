"""A million quaternions: bandwidth of the cheap functions, time of the others, float32 over float64."""

import time

import numba
import numpy as np

import primeattn as pa
from primeattn._runtime.owners import share

from . import size

SIZE = size(10**6, 10**3)
NAMES = ("multiply", "rotate", "exp", "log", "slerp", "power", "normalize", "angular_distance", "to_matrix")
NUMBERS_MOVED = {"triad": 12, "multiply": 12, "rotate": 10}


@numba.njit(nogil=True)
def _triad(start, stop, x, y, out):
    s = x.dtype.type(3)
    for i in range(start, stop):
        out[np.uint64(i)] = x[np.uint64(i)] + s * y[np.uint64(i)]


def calls(dtype, *names) -> dict:
    """One closure a function, over preallocated arrays."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIZE, 4)).astype(dtype)
    v, t = rng.standard_normal((SIZE, 3)).astype(dtype), rng.random(SIZE).astype(dtype)
    inputs = {"multiply": (a, b), "rotate": (a, v), "slerp": (a, b, t), "power": (a, t), "angular_distance": (a, b)}
    made = {}
    for name in set(names) - {"triad"}:
        function, operands = getattr(pa.quaternion, name), inputs.get(name, (a,))
        out = function(*operands)
        made[name] = lambda function=function, operands=operands, out=out: function(*operands, out=out)
    if "triad" in names:
        flat = a.ravel(), b.ravel(), np.empty(4 * SIZE, dtype)
        made["triad"] = lambda: share(lambda start, stop: _triad(start, stop, *flat), 4 * SIZE, 16_384)
        made["triad"]()
    return made


def fastest(functions: dict, rounds: int = 15) -> dict[str, float]:
    """Best of interleaved rounds, so that a busy machine slows down all alike."""
    found = dict.fromkeys(functions, np.inf)
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            found[name] = min(found[name], time.perf_counter() - start)
    return found


class Elementwise:
    params = (NAMES, ("float64", "float32"))
    param_names = ("function", "dtype")

    def setup(self, name, dtype):
        self.call = calls(dtype, name)[name]

    def time_out(self, name, dtype):
        self.call()


class Bandwidth:
    """Bytes per second of the product and of the rotation, over those of a triad in the same run: at least 0.9."""

    params = ("multiply", "rotate")
    param_names = ("function",)
    unit = "of a triad"

    def track_bandwidth(self, name):
        found = fastest(calls("float64", name, "triad"))
        return NUMBERS_MOVED[name] / found[name] / (NUMBERS_MOVED["triad"] / found["triad"])


class Precision:
    """How many times faster float32 is than float64: at least 1.6."""

    params = ("multiply", "rotate", "exp", "log", "slerp")
    param_names = ("function",)
    unit = "times"

    def track_speedup(self, name):
        double, single = calls("float64", name)[name], calls("float32", name)[name]
        found = fastest({"double": double, "single": single})
        return found["double"] / found["single"]


class Reductions:
    params = ("float64", "float32")
    param_names = ("dtype",)

    def setup(self, dtype):
        self.a = pa.quaternion.random(SIZE, rng=0, dtype=dtype)
        self.out = pa.quaternion.cumprod(self.a)
        self.groups = self.a.reshape(-1, 10, 4)
        pa.quaternion.mean(self.groups[:10], axis=1)

    def time_cumprod(self, dtype):
        pa.quaternion.cumprod(self.a, out=self.out)

    def time_mean_of_ten(self, dtype):
        pa.quaternion.mean(self.groups, axis=1)


class Gradients:
    params = ("multiply", "rotate", "exp", "slerp")
    param_names = ("function",)

    def setup(self, name):
        rng = np.random.default_rng(0)
        a, b = rng.standard_normal((2, SIZE, 4))
        inputs = {"multiply": (a, b), "rotate": (a, b[:, :3].copy()), "exp": (a,), "slerp": (a, b, rng.random(SIZE))}
        out, self.pullback = pa.quaternion.vjp(name, *inputs[name])
        self.dout = np.ones_like(out)
        self.pullback(self.dout)

    def time_pullback(self, name):
        self.pullback(self.dout)


class Circle:
    def setup(self):
        self.theta = np.random.default_rng(0).uniform(-20, 20, SIZE)
        self.out = pa.circle.wrap(self.theta)
        pa.circle.order_parameter(self.theta)

    def time_wrap(self):
        pa.circle.wrap(self.theta, out=self.out)

    def time_order_parameter(self):
        pa.circle.order_parameter(self.theta)
