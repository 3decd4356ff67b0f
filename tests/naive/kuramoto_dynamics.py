"""Coupled oscillators one sine at a time, with a memory of all that was: the equations as they are written on paper."""

import cmath
import math


def force(i, t, theta, *, omega, coupling=0.0, lag=0.0, network=None, past=None, delay=None, schedule=None,
          forcing=None, harmonics=(), triangles=(), strengths=(0.0, 0.0)):  # fmt: skip
    """What drives oscillator i. ``past(j, s)`` is theta_j at time s, ``delay`` a number or rows of numbers."""
    n = len(theta)
    g = coupling / n * (1.0 if schedule is None else piecewise(t, *schedule))
    total = omega[i]
    for j in range(n):
        w = 1.0 if network is None else network[i][j]
        if w == 0 or (network is None and delay is not None and j == i):
            continue
        tau = 0.0 if delay is None else delay if isinstance(delay, float) else delay[i][j]
        heard = past(j, t - tau) if tau > 0 else theta[j]
        total += g * w * math.sin(heard - theta[i] - lag)
        for m, k, a in harmonics:
            total += k / coupling * g * w * math.sin(m * (heard - theta[i]) - a)
    for a, j, k, w in triangles:
        if a == i:
            total += strengths[0] * w * math.sin(2 * theta[j] - theta[k] - theta[i])
            total += strengths[1] * w * math.sin(theta[j] + theta[k] - 2 * theta[i])
    if forcing is not None:
        total += forcing[0] * math.sin(forcing[1] * t + forcing[2] - theta[i])
    return total


def piecewise(t, times, values):
    """Linear between the times, constant beyond."""
    if t <= times[0]:
        return values[0]
    for a, b, p, q in zip(times, times[1:], values, values[1:], strict=False):
        if t <= b:
            return p + (q - p) * (t - a) / (b - a)
    return values[-1]


def philox(counter, key):
    """Four words of Philox 4x32-10 (Salmon et al., 2011)."""
    c, k, mask = list(counter), list(key), 0xFFFFFFFF
    for _ in range(10):
        p, q = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(q >> 32) ^ c[1] ^ k[0], q & mask, (p >> 32) ^ c[3] ^ k[1], p & mask]
        k = [(k[0] + 0x9E3779B9) & mask, (k[1] + 0xBB67AE85) & mask]
    return c


def normals(seed, run, step, i):
    """The two normal numbers of oscillator i in a step, by Box and Muller."""
    mask = 0xFFFFFFFF
    a, b, c, d = philox((i, step & mask, step >> 32, run), (seed & mask, seed >> 32))
    radius = math.sqrt(-2 * math.log((a + (b + 0.5) / 2**32) / 2**32))
    z = cmath.exp(2j * math.pi * (c + d / 2**32) / 2**32)
    return radius * z.real, radius * z.imag


def white(h, u, v):
    """W and Z of unit intensity."""
    return math.sqrt(h) * u, math.sqrt(h) * (u / 2 + v / math.sqrt(12))


class Memory:
    """Grid points (t, theta, theta' to the left, theta' to the right), and the cubic of Hermite between them."""

    def __init__(self, history, slope, t0, tau, theta0, points=400):
        self.points = []
        for k in range(points + 1):
            t = t0 - tau + tau * k / points
            self.points.append([t, history(t), slope(t), slope(t)])
        self.points[-1][1] = list(theta0)

    def __call__(self, j, s):
        points = self.points
        k = len(points) - 2
        while points[k + 1][3] is None or (k > 0 and points[k][0] > s):
            k -= 1
        (a, p, _, v), (b, q, w, _) = points[k], points[k + 1]
        h, x = b - a, (s - a) / (b - a)
        return (
            p[j] * (1 + 2 * x) * (1 - x) ** 2
            + q[j] * x * x * (3 - 2 * x)
            + h * v[j] * x * (1 - x) ** 2
            - h * w[j] * x * x * (1 - x)
        )


def simulate(y, t0, t1, steps, terms, *, a, b, c, inertia=None, friction=1.0, sigma=0.0, kicks=None, draw=None,
             memory=None):  # fmt: skip
    """Explicit Runge-Kutta steps of theta, then theta' with inertia; the state at t1.

    ``draw(step, i)`` is (W, Z), which ``kicks`` (rows w, z, the last for the end of a step) weigh.
    """
    y, n, h = list(y), len(terms["omega"]), (t1 - t0) / steps

    def slope(t, y):
        f = [force(i, t, y[:n], past=memory, **terms) for i in range(n)]
        if inertia is None:
            return f
        return y[n:] + [(f[i] - friction * y[n + i]) / inertia[i] for i in range(n)]

    rows = [*a, b]
    kicks = kicks or [(0.0, 0.0)] * len(b) + [(1.0, 0.0)]
    for step in range(steps):
        t, found = t0 + step * h, []
        noise = [draw(step, i) if sigma else (0.0, 0.0) for i in range(n)]
        for s in range(len(b) + 1):
            stage = [y[e] + h * sum(r * f[e] for r, f in zip(rows[s], found, strict=False)) for e in range(len(y))]
            for i in range(n):
                scale = sigma / (1.0 if inertia is None else inertia[i])
                stage[len(y) - n + i] += scale * (kicks[s][0] * noise[i][0] + kicks[s][1] * noise[i][1])
            if s < len(b):
                found.append(slope(t + c[s] * h, stage))
                if s == 0 and memory is not None:
                    memory.points[-1][3] = found[0][:n]
                    if memory.points[-1][2] is None:
                        memory.points[-1][2] = found[0][:n]
        y = stage
        if memory is not None:
            memory.points.append([t0 + (step + 1) * h, y[:n], None, None])
    return y
