"""Time steps of oscillators; networks beside SciPy's products, ensembles beside batched NumPy in the same run."""

import statistics
import time

import numpy as np
from scipy import sparse

import primeattn as pa

from . import size


def erdos_renyi(n, degree):
    key = np.unique(np.random.default_rng(0).integers(0, n * n, n * degree))
    return sparse.csr_array((np.ones(len(key)), (key // n, key % n)), shape=(n, n))


def run(model, steps, method="rk4", theta=None, **options):
    if theta is None:
        theta = np.random.default_rng(1).uniform(-3, 3, model.size)
    return pa.simulate(model, (0, steps * 0.01), theta, method=method, dt=0.01, samples=2, **options)


class AllToAll:
    params = size((100, 500, 10**5, 10**6), (100,))
    param_names = ("N",)

    def setup(self, n):
        self.model = pa.Kuramoto(np.random.default_rng(0).normal(size=n), 2.0)
        self.steps = max(2, size(10**6, 10**4) // n)
        run(self.model, 1)

    def time_rk4(self, n):
        run(self.model, self.steps)

    def track_ns_per_oscillator_step(self, n):
        times = []
        for _ in range(3):
            start = time.perf_counter()
            run(self.model, self.steps)
            times.append(time.perf_counter() - start)
        return 1e9 * min(times) / self.steps / n

    track_ns_per_oscillator_step.unit = "ns"


class Network:
    params = size((10**3, 10**5, 10**6), (100,))
    param_names = ("N",)

    def setup(self, n):
        self.W = erdos_renyi(n, 10)
        self.model = pa.Kuramoto(np.random.default_rng(0).normal(size=n), 1.0, self.W, normalize="degree")
        run(self.model, 1)

    def time_rk4(self, n):
        run(self.model, max(2, size(10**5, 10**3) // n))

    def time_arrays(self, n):
        """Checking the matrix, and its slices."""
        run(pa.Kuramoto(self.model.omega, 1.0, self.W), 1)

    def track_times_scipy_products(self, n):
        """A whole RK4 step against A @ sin and A @ cos four times, one thread each: how many times faster."""
        steps, c, ratios = max(2, size(10**5, 10**3) // n), np.random.default_rng(2).normal(size=n), []
        for _ in range(5):
            start = time.perf_counter()
            run(self.model, steps)
            between = time.perf_counter()
            for _ in range(8):
                self.W @ c
            ratios.append((time.perf_counter() - between) * steps / (between - start))
        return statistics.median(ratios)

    track_times_scipy_products.unit = "times"


class Lattice:
    """1000 x 10, Dormand and Prince's order 8 to t = 100."""

    def setup(self):
        W = pa.dynamics.networks.lattice((length := size(1000, 10), 10))
        self.model = pa.Kuramoto(np.random.default_rng(0).normal(0, 0.1, 10 * length), 2.0, W, normalize="degree")
        self.theta = np.random.default_rng(1).uniform(-3, 3, 10 * length)
        pa.simulate(self.model, (0, 0.1), self.theta, method="dop853")

    def time_to_100(self):
        pa.simulate(self.model, (0, 100), self.theta, method="dop853", samples=101)


class Ensemble:
    """1,000 runs of 100 oscillators."""

    unit = "times"

    def setup(self):
        rng = np.random.default_rng(0)
        self.omega, self.coupling = rng.normal(size=100), np.linspace(0, 4, runs := size(1000, 10))
        self.theta = rng.uniform(-3, 3, (runs, 100))
        self.model = pa.Kuramoto(self.omega, self.coupling)
        run(self.model, 1, theta=self.theta)

    def batched(self, steps):
        k, h, y = self.coupling[:, None], 0.01, self.theta

        def slope(x):
            c, s = np.cos(x), np.sin(x)
            return self.omega + k * (c * s.mean(-1, keepdims=True) - s * c.mean(-1, keepdims=True))

        for _ in range(steps):
            a = slope(y)
            b = slope(y + h / 2 * a)
            c = slope(y + h / 2 * b)
            y = y + h / 6 * (a + 2 * b + 2 * c + slope(y + h * c))

    def time_rk4(self):
        run(self.model, 20, theta=self.theta)

    def track_times_numpy(self):
        ratios = []
        for _ in range(5):
            start = time.perf_counter()
            run(self.model, 20, theta=self.theta)
            between = time.perf_counter()
            self.batched(20)
            ratios.append((time.perf_counter() - between) / (between - start))
        return statistics.median(ratios)


def late(omega, network, rng):
    return pa.Kuramoto(omega, 2.0, network, "degree", delay=rng.uniform(0.1, 0.5, network.nnz))


class Terms:
    """20 steps of RK4 of what is not a plain phase, at N = 10,000."""

    params = ("amplitudes", "spheres", "learning", "ring of 2,000", "full matrix of 2,000", "a delay an edge")
    param_names = ("term",)

    def setup(self, term):
        rng, n = np.random.default_rng(0), size(10**4, 100)
        make = {
            "amplitudes": lambda: pa.dynamics.StuartLandau(rng.normal(size=n), 2.0),
            "spheres": lambda: pa.dynamics.Spheres(pa.dynamics.frequencies.rotations(n, 3, rng=0), 2.0),
            "learning": lambda: pa.Kuramoto(rng.normal(size=n), 2.0, erdos_renyi(n, 10), "degree", adaptation=0.1),
            "ring of 2,000": lambda: pa.Kuramoto(rng.normal(size=n), 2.0, pa.dynamics.Ring(n // 10)),
            "a delay an edge": lambda: late(rng.normal(size=n), erdos_renyi(n, 10), rng),
            "full matrix of 2,000": lambda: pa.Kuramoto(rng.normal(size=n // 5), 2.0, rng.random((n // 5, n // 5))),
        }
        self.model = make[term]()
        self.start = self.model.draw(rng, 1)[0]
        run(self.model, 1, theta=self.start)

    def time_rk4(self, term):
        run(self.model, 20, theta=self.start)
