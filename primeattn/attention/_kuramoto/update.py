r"""From moments of values to new angles, and back: one row a head and token.

Attention gives the moments m^k_t = sum_u A_tu exp(i k phi_u), and, delayed by a token, n^k_t = sum_{u<t} A_tu
exp(i k phi_{u+1}). In the frame of the token, z = exp(-i k phi_t) m = p + i q,

    p = c M_c + s M_s,    q = c M_s - s M_c      (c, s = cos, sin of k phi_t),
    theta' = theta + sum_k Im(kappa z) = theta + sum_k (Re kappa q + Im kappa p).

For G = dL/dtheta', with p' and q' the derivatives of the increment by p and q, times G,

    dM_c = p' c - q' s,    dM_s = p' s + q' c,    dphi_t = k (p' q - q' p),
    d Re kappa = sum_t G q,    d Im kappa = sum_t G p.

``TANGENT``: p' = Im kappa G, q' = Re kappa G. Ablations: ``DIRECTION`` drops |m|, with increment eta q / |z|;
``GEODESIC`` steps towards arg m, with increment eta arg z. Where z = 0 both increments are 0, and so are p' and q'.

The delayed form needs A without its diagonal, and subtracting A_tt from the sum would round with angles of the future.
So it is a second softmax over u < t, times rho_t = 1 - A_tt = exp(lse of u < t - lse of u <= t). With D_t = sum of
dM . M over the delayed moments, rho adds D_t to the gradient of the second lse and takes it from that of the first.
The core takes gradients of scores as A_tu (dM . V_u - delta), delta = dM . M: one more number of a row, 0 in V and 1 in
M, turns delta into delta + its own gradient, which is D_t in the first and -D_t in the second pass.
"""

import math

import numpy as np

from ..._runtime import elementary as el
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import kernel, nonnegative, scalar
from ..._runtime.owners import Owner
from .features import SIZES, Sizes, angles_of, head_of

TANGENT, DIRECTION, GEODESIC = 0, 1, 2
UPDATES = {"tangent": TANGENT, "direction": DIRECTION, "geodesic": GEODESIC}


@scalar
def increment(form, real, imag, p, q):
    if form == 0:
        return real * q + imag * p
    if form == 2:
        return real * el.atan2(q, p)
    size = math.sqrt(p * p + q * q)
    return real * q if size == 0 else real * q / size


@scalar
def pull_increment(form, real, imag, p, q):
    """Derivatives of the increment by p and by q."""
    if form == 0:
        return imag, real
    square = p * p + q * q
    inverse = square if square == 0 else type(p)(1) / square
    if form == 2:
        return -real * q * inverse, real * p * inverse
    cube = inverse * math.sqrt(inverse)
    return -real * p * q * cube, real * p * p * cube


@scalar
def share_before(r, lse, lse_before):
    """rho: the share of the weights that lies before the diagonal."""
    nothing = type(lse[0])(-np.inf)
    return type(lse[0])(0) if lse_before[r] == nothing else el.exp(lse_before[r] - lse[r])


@scalar
def add_moments(r, z, form, k, kappa, factor, before, u, m, real, imag, out):
    """out = before + the increments of harmonic k + 1, whose coupling starts at kappa."""
    at, angles = r * z.depth + 2 * k * z.width, angles_of(r, z)
    for j in range(z.width):
        c, s = u[nonnegative(at + j)], u[nonnegative(at + z.width + j)]
        x, y = factor * m[nonnegative(at + j)], factor * m[nonnegative(at + z.width + j)]
        p, q = c * x + s * y, c * y - s * x
        moved = increment(form, real[nonnegative(kappa + j)], imag[nonnegative(kappa + j)], p, q)
        out[nonnegative(angles + j)] = before[nonnegative(angles + j)] + moved


@scalar
def update_row(r, sizes, form, theta, u, m, n, lse, lse_before, real, imag, out):
    """New angles. The last number of a delayed row of m and n, if there is one, becomes 1."""
    z = Sizes(*sizes)
    across, one = z.heads * z.width, type(theta[0])(1)
    kappa = head_of(r, z) * z.width
    add_moments(r, z, form, 0, kappa, one, theta, u, m, real, imag, out)
    for k in range(1, z.harmonics):
        add_moments(r, z, form, k, kappa + k * across, one, out, u, m, real, imag, out)
    if n.size:
        rho = share_before(r, lse, lse_before)
        for k in range(z.harmonics):
            add_moments(r, z, form, k, kappa + (z.harmonics + k) * across, rho, out, u, n, real, imag, out)
        m[(r + 1) * z.depth - 1] = n[(r + 1) * z.depth - 1] = one


@kernel
def update_cpu(start, stop, sizes, form, theta, u, m, n, lse, lse_before, real, imag, out):
    disjoint()
    for r in range(start, stop):
        update_row(r, sizes, form, theta, u, m, n, lse, lse_before, real, imag, out)


@scalar
def pull_moments(r, z, form, term, factor, before, g, u, m, real, imag, dm, dtheta, dreal, dimag):
    """dM of one harmonic; dtheta = before + dphi; the row's shares of the gradients of the coupling."""
    k, angles, across = term % z.harmonics, angles_of(r, z), z.heads * z.width
    at, kappa, order = r * z.depth + 2 * k * z.width, term * across + head_of(r, z) * z.width, type(factor)(k + 1)
    share = angles + (real.size - across) * (angles // across) + term * across
    for j in range(z.width):
        c, s = u[nonnegative(at + j)], u[nonnegative(at + z.width + j)]
        x, y = factor * m[nonnegative(at + j)], factor * m[nonnegative(at + z.width + j)]
        p, q, upstream = c * x + s * y, c * y - s * x, g[nonnegative(angles + j)]
        dp, dq = pull_increment(form, real[nonnegative(kappa + j)], imag[nonnegative(kappa + j)], p, q)
        dp, dq = dp * upstream, dq * upstream
        dm[nonnegative(at + j)] = factor * (dp * c - dq * s)
        dm[nonnegative(at + z.width + j)] = factor * (dp * s + dq * c)
        dtheta[nonnegative(angles + j)] = before[nonnegative(angles + j)] + order * (dp * q - dq * p)
        dreal[nonnegative(share + j)] = upstream * increment(form, type(p)(1), type(p)(0), p, q)
    if dimag.size:
        for j in range(z.width):
            c, s = u[nonnegative(at + j)], u[nonnegative(at + z.width + j)]
            x, y = factor * m[nonnegative(at + j)], factor * m[nonnegative(at + z.width + j)]
            dimag[nonnegative(share + j)] = g[nonnegative(angles + j)] * (c * x + s * y)


@scalar
def pull_update_row(
    r, sizes, form, g, u, m, n, lse, lse_before, real, imag, dm, dn, dtheta, dreal, dimag
):  # fmt: skip
    """Upstream gradients of moments; dtheta = G + dphi. dreal and dimag: (tokens, delays, harmonics, angles)."""
    z = Sizes(*sizes)
    one, last = type(g[0])(1), (r + 1) * z.depth - 1
    pull_moments(r, z, form, 0, one, g, g, u, m, real, imag, dm, dtheta, dreal, dimag)
    for k in range(1, z.harmonics):
        pull_moments(r, z, form, k, one, dtheta, g, u, m, real, imag, dm, dtheta, dreal, dimag)
    if n.size:
        rho, total = share_before(r, lse, lse_before), one - one
        for k in range(z.harmonics):
            pull_moments(
                r, z, form, z.harmonics + k, rho, dtheta, g, u, n, real, imag, dn, dtheta, dreal, dimag
            )  # fmt: skip
        for at in range(r * z.depth, last):
            total += dn[at] * n[at]
        dm[last], dn[last] = total, -total


@kernel
def pull_update_cpu(
    start, stop, sizes, form, g, u, m, n, lse, lse_before, real, imag, dm, dn, dtheta, dreal, dimag
):  # fmt: skip
    disjoint()
    for r in range(start, stop):
        pull_update_row(r, sizes, form, g, u, m, n, lse, lse_before, real, imag, dm, dn, dtheta, dreal, dimag)


@scalar
def successor_row(r, sizes, v, out):
    """The values of the next token; zeros after the last."""
    z = Sizes(*sizes)
    for at in range(r * z.depth, (r + 1) * z.depth):
        out[at] = v[at + z.depth] if r % z.tokens < z.tokens - 1 else type(v[0])(0)


@kernel
def successor_cpu(start, stop, sizes, v, out):
    for r in range(start, stop):
        successor_row(r, sizes, v, out)


UPDATE = Owner(update_row, update_cpu, f"{SIZES} i F1 F1 F1 F1 F1 F1 F1 F1 F1", grain=1024)
PULL_UPDATE = Owner(
    pull_update_row, pull_update_cpu, f"{SIZES} i F1 F1 F1 F1 F1 F1 F1 F1 F1 F1 F1 F1 F1", grain=1024
)  # fmt: skip
SUCCESSOR = Owner(successor_row, successor_cpu, f"{SIZES} F1 F1", grain=1024)
