r"""From moments of values to new angles, one row a head and token, and back, one row a piece (see ``angles``).

Attention gives the moments m^k_t = sum_u A_tu exp(i k phi_u), and, delayed by a token, n^k_t = sum_{u<t} A_tu
exp(i k phi_{u+1}). In the frame of the token, z = exp(-i k phi_t) m = p + i q,

    p = c M_c + s M_s,    q = c M_s - s M_c      (c, s = cos, sin of k phi_t),
    theta' = theta + sum_k Im(kappa z) = theta + sum_k (Re kappa q + Im kappa p).

For G = dL/dtheta', with p' and q' the derivatives of the increment by p and q, times G,

    dM_c = p' c - q' s,    dM_s = p' s + q' c,    dphi_t = k (p' q - q' p),
    d Re kappa = sum_t G q,    d Im kappa = sum_t G p.

where p' = Im kappa G and q' = Re kappa G. (``ablations``: other increments, of one harmonic.)

The delayed form needs A without its diagonal, and subtracting A_tt from the sum would round with angles of the future.
So it is a second softmax over u < t, times rho_t = 1 - A_tt = exp(lse of u < t - lse of u <= t). With D_t = sum of
dM . M over the delayed moments, rho adds D_t to the gradient of the second lse and takes it from that of the first.
The core takes gradients of scores as A_tu (dM . V_u - delta), delta = dM . M: one more number of a row, 0 in V and 1 in
M, turns delta into delta + its own gradient, which is D_t in the first and -D_t in the second pass.
"""

import numpy as np

from ..._runtime import elementary as el
from ..._runtime.disjoint import disjoint
from ..._runtime.jit import nonnegative
from ..._runtime.owners import Owner
from ..._runtime.width import full_width
from .._cores.tiles import fill, kernel, scalar
from .angles import piece
from .features import SIZES, STRIP, Sizes, following, place


@scalar
def add_increments(n, wide, at, kappa, angles, rho, before, u, m, real, imag, out):
    """out = before + increments, of n angles of one harmonic."""
    for j in range(n):
        c, s = u[nonnegative(at + j)], u[nonnegative(at + wide + j)]
        x, y = m[nonnegative(at + j)], m[nonnegative(at + wide + j)]
        p, q = c * x + s * y, c * y - s * x
        moved = real[nonnegative(kappa + j)] * q + imag[nonnegative(kappa + j)] * p
        out[nonnegative(angles + j)] = before[nonnegative(angles + j)] + rho * moved


@scalar
def add_harmonic(n, at, kappa, angles, rho, before, u, m, real, imag, out):
    strips = n // STRIP * STRIP
    for j in range(0, strips, STRIP):
        add_increments(STRIP, n, at + j, kappa + j, angles + j, rho, before, u, m, real, imag, out)
    j = strips
    add_increments(n - j, n, at + j, kappa + j, angles + j, rho, before, u, m, real, imag, out)


@scalar
def update_at(r, head, angles, z, before, u, m, share, step, real, imag, out):
    rho, n = share[r * step], z.width
    add_harmonic(n, r * z.depth, head * n, angles, rho, before, u, m, real, imag, out)
    for k in range(1, z.harmonics):
        at, kappa = r * z.depth + 2 * k * n, (k * z.heads + head) * n
        add_harmonic(n, at, kappa, angles, rho, out, u, m, real, imag, out)


@scalar
def update_row(r, sizes, before, u, m, share, step, real, imag, out):
    """out = before + increments. ``share``: rho of each row, or a single 1 (step 0)."""
    z = Sizes(*sizes)
    _, head, angles = place(r, z)
    update_at(r, head, angles, z, before, u, m, share, step, real, imag, out)


@kernel
def update_cpu(start, stop, sizes, before, u, m, share, step, real, imag, out):
    disjoint()
    full_width()
    z = Sizes(*sizes)
    t, head, angles = place(start, z)
    for r in range(start, stop):
        update_at(r, head, angles, z, before, u, m, share, step, real, imag, out)
        t, head, angles = following(r, t, head, angles, z)


@scalar
def pull_increments(n, wide, at, kappa, angles, term, rho, order, before, g, u, m, real, imag, dm, dtheta, dreal):
    for j in range(n):
        c, s = u[nonnegative(at + j)], u[nonnegative(at + wide + j)]
        x, y, upstream = m[nonnegative(at + j)], m[nonnegative(at + wide + j)], rho * g[nonnegative(angles + j)]
        p, q = c * x + s * y, c * y - s * x
        dp, dq = upstream * imag[nonnegative(kappa + j)], upstream * real[nonnegative(kappa + j)]
        dm[nonnegative(at + j)] = dp * c - dq * s
        dm[nonnegative(at + wide + j)] = dp * s + dq * c
        dtheta[nonnegative(angles + j)] = before[nonnegative(angles + j)] + order * (dp * q - dq * p)
        dreal[nonnegative(term + j)] += upstream * q


@scalar
def pull_harmonic(n, at, kappa, angles, term, rho, order, before, g, u, m, real, imag, dm, dtheta, dreal):
    strips = n // STRIP * STRIP
    for j in range(0, strips, STRIP):
        pull_increments(
            STRIP, n, at + j, kappa + j, angles + j, term + j, rho, order, before, g, u, m, real, imag, dm, dtheta,
            dreal,
        )  # fmt: skip
    j = strips
    pull_increments(
        n - j, n, at + j, kappa + j, angles + j, term + j, rho, order, before, g, u, m, real, imag, dm, dtheta, dreal
    )


@scalar
def sum_imaginary(n, at, angles, term, rho, g, u, m, dimag):
    for j in range(n):
        c, s = u[nonnegative(at + j)], u[nonnegative(at + n + j)]
        x, y = m[nonnegative(at + j)], m[nonnegative(at + n + j)]
        dimag[nonnegative(term + j)] += rho * g[nonnegative(angles + j)] * (c * x + s * y)


@scalar
def pull_update_row(i, sizes, before, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag):
    """Piece i: dM; dtheta = before + dphi; its sums of the gradients of kappa (dimag unless it is empty)."""
    z, zero = Sizes(*sizes), type(u[0])(0)
    first, last, (_, head, angles) = piece(i, z)
    n, terms = z.width, i * z.harmonics * z.width
    fill(dreal, terms, z.harmonics * n, zero)
    if dimag.size:
        fill(dimag, terms, z.harmonics * n, zero)
    for r in range(first, last):
        rho, at = share[r * step], r * z.depth
        one = type(rho)(1)
        pull_harmonic(n, at, head * n, angles, terms, rho, one, before, g, u, m, real, imag, dm, dtheta, dreal)
        for k in range(1, z.harmonics):
            kappa, order = (k * z.heads + head) * n, type(rho)(k + 1)
            pull_harmonic(
                n, at + 2 * k * n, kappa, angles, terms + k * n, rho, order, dtheta, g, u, m, real, imag, dm, dtheta,
                dreal,
            )  # fmt: skip
        if dimag.size:
            for k in range(z.harmonics):
                sum_imaginary(n, at + 2 * k * n, angles, terms + k * n, rho, g, u, m, dimag)
        angles += z.heads * n


@kernel
def pull_update_cpu(start, stop, sizes, before, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag):
    disjoint()
    full_width()
    for i in range(start, stop):
        pull_update_row(nonnegative(i), sizes, before, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag)


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


@scalar
def share_row(r, sizes, lse, lse_before, m, n, share):
    """rho; the last numbers of the rows of moments become 1."""
    z, one = Sizes(*sizes), type(lse[0])(1)
    empty = lse_before[r] == type(one)(-np.inf)
    share[r] = one - one if empty else el.exp(lse_before[r] - lse[r])
    m[(r + 1) * z.depth - 1] = n[(r + 1) * z.depth - 1] = one


@kernel
def share_cpu(start, stop, sizes, lse, lse_before, m, n, share):
    for r in range(start, stop):
        share_row(r, sizes, lse, lse_before, m, n, share)


@scalar
def share_pull_row(r, sizes, n, dm, dn):
    """D of the row, where delta of either pass takes it from."""
    z = Sizes(*sizes)
    last, total = (r + 1) * z.depth - 1, n[0] - n[0]
    for at in range(r * z.depth, last):
        total += dn[at] * n[at]
    dm[last], dn[last] = total, -total


@kernel
def share_pull_cpu(start, stop, sizes, n, dm, dn):
    for r in range(start, stop):
        share_pull_row(r, sizes, n, dm, dn)


UPDATE = Owner(update_row, update_cpu, f"{SIZES} F1 F1 F1 F1 i F1 F1 F1", grain=1024)
PULL_UPDATE = Owner(
    pull_update_row, pull_update_cpu, f"{SIZES} F1 F1 F1 F1 F1 i F1 F1 F1 F1 F1 F1", grain=32
)  # fmt: skip
SUCCESSOR = Owner(successor_row, successor_cpu, f"{SIZES} F1 F1", grain=1024)
SHARE = Owner(share_row, share_cpu, f"{SIZES} F1 F1 F1 F1 F1", grain=1024)
SHARE_PULL = Owner(share_pull_row, share_pull_cpu, f"{SIZES} F1 F1 F1", grain=1024)
