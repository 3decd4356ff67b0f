"""Prime states: building, cutting, files, composition and scans; ratios to a copy of the same bytes in the same run."""

import os
import statistics
import tempfile
import time

import numpy as np

import primeattn as pa

from . import size

N, K = size(62_500, 300), 16  # 10^6 entries


def _states(dtype, rng=0, n=N):
    return pa.PrimeStates.random(n, K, n_primes=4096, rng=rng, dtype=dtype)


def _median(function, repeat=5):
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


class Build:
    """Validation of 10^6 entries."""

    params = (size(["float32", "float64"], ["float32"]), ["sorted units", "unsorted", "any length"])
    param_names = ("dtype", "input")

    def setup(self, dtype, kind):
        s = _states(dtype)
        self.arrays = [np.array(x) for x in (s.indptr, s.primes, s.amplitude, s.orientation)]
        if kind == "unsorted":
            self.arrays[1] = self.arrays[1].reshape(N, K)[:, ::-1].ravel().copy()
        elif kind == "any length":
            self.arrays[3] *= 2
        pa.PrimeStates.from_arrays(*self.arrays)

    def time_from_arrays(self, dtype, kind):
        pa.PrimeStates.from_arrays(*self.arrays)

    def peakmem_from_arrays(self, dtype, kind):
        pa.PrimeStates.from_arrays(*self.arrays)


class Operations:
    """One batch, or two of them row by row, 10^6 entries each."""

    params = (size(["float32", "float64"], ["float32"]),)
    param_names = ("dtype",)

    def setup(self, dtype):
        self.a, self.b = _states(dtype), _states(dtype, rng=1)
        self.mask = np.arange(N) % 2 == 0
        for s, t in ((self.a[:9], self.b[:9]),):
            s.normalize(), s.entropy(), s.compose(t), s.noncommutativity(t), s.sparsify(k=2)
            s.cumcompose(mode="own"), s.cumcompose(mode="rotor"), s.cumcompose(mode="full")

    def time_random(self, dtype):
        _states(dtype)

    def time_mask(self, dtype):
        self.a[self.mask]

    def time_normalize(self, dtype):
        self.a.normalize()

    def time_entropy(self, dtype):
        self.a.entropy()

    def time_sparsify(self, dtype):
        self.a.sparsify(energy=0.9)

    def time_compose(self, dtype):
        self.a.compose(self.b)

    def time_noncommutativity(self, dtype):
        self.a.noncommutativity(self.b)

    def time_cumcompose_rotor(self, dtype):
        self.a.cumcompose(mode="rotor")

    def time_cumcompose_own(self, dtype):
        self.a.cumcompose(mode="own")

    def time_cumcompose_full_200_tokens(self, dtype):
        self.a[:200].cumcompose(mode="full")

    def track_compose_against_copy(self, dtype):
        """Time of a composition over the time of copying its operands: 1 would be the memory bound of reading."""
        arrays = [getattr(s, x) for s in (self.a, self.b) for x in ("primes", "amplitude", "orientation")]
        return _median(lambda: self.a.compose(self.b)) / _median(lambda: [x.copy() for x in arrays])

    track_compose_against_copy.unit = "times"


class Scaling:
    """The scans are linear: time per entry at two lengths, 10 times apart, in one run."""

    params = (["rotor", "own"],)
    param_names = ("mode",)
    unit = "times"

    def setup(self, mode):
        self.short, self.long = _states("float32", n=N), _states("float32", n=10 * N)
        self.short[:9].cumcompose(mode=mode)

    def track_growth_for_ten_times_the_tokens(self, mode):
        return _median(lambda: self.long.cumcompose(mode=mode), 3) / _median(
            lambda: self.short.cumcompose(mode=mode), 3
        )

    track_growth_for_ten_times_the_tokens.unit = "times"


class Files:
    """Writing and reading 10^6 entries; reading checks everything."""

    def setup(self):
        self.states = _states("float32")
        self.folder = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.folder.name, "states.npz")
        self.states.save(self.path)

    def teardown(self):
        self.folder.cleanup()

    def time_save(self):
        self.states.save(self.path)

    def time_load(self):
        pa.PrimeStates.load(self.path)
