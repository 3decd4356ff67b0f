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
from ..._runtime.jit import nonnegative, not_inlined
from ..._runtime.owners import Owner
from ..._runtime.vectors import LANES, broadcast, load, store
from ..._runtime.width import full_width
from .._cores.tiles import fill, kernel, scalar
from .angles import piece
from .features import SIZES, Sizes, place


@scalar
def frame(c, s, x, y):
    """z of a moment (x, y) in the frame of its token; numbers or vectors."""
    return c * x + s * y, c * y - s * x


@scalar
def add_increment(j, n, at, kappa, angles, rho, before, u, m, real, imag, out):
    c, s = u[nonnegative(at + j)], u[nonnegative(at + n + j)]
    p, q = frame(c, s, m[nonnegative(at + j)], m[nonnegative(at + n + j)])
    moved = real[nonnegative(kappa + j)] * q + imag[nonnegative(kappa + j)] * p
    out[nonnegative(angles + j)] = before[nonnegative(angles + j)] + rho * moved


@scalar
def add_vector(j, n, at, angles, rho, before, u, m, real, imag, out):
    """`add_increment` for ``LANES`` angles, with their coupling."""
    p, q = frame(load(u, at + j), load(u, at + n + j), load(m, at + j), load(m, at + n + j))
    moved = real * q + imag * p
    store(out, angles + j, load(before, angles + j) + rho * moved)


@scalar
def update_at(r, head, angles, z, before, u, m, share, step, real, imag, out):
    """Row r: out = before + increments, the first harmonic's and then the others'."""
    rho, n = share[r * step], z.width
    for j in range(n):
        add_increment(j, n, r * z.depth, head * n, angles, rho, before, u, m, real, imag, out)
    add_harmonics(r, head, angles, z, u, m, rho, real, imag, out)


@scalar
def add_harmonics(r, head, angles, z, u, m, rho, real, imag, out):
    n = z.width
    for k in range(1, z.harmonics):
        at, kappa = r * z.depth + 2 * k * n, (k * z.heads + head) * n
        for j in range(n):
            add_increment(j, n, at, kappa, angles, rho, out, u, m, real, imag, out)


@scalar
def update_row(r, sizes, before, u, m, share, step, real, imag, out):
    """out = before + increments. ``share``: rho of each row, or a single 1 (step 0)."""
    z = Sizes(*sizes)
    _, head, angles = place(r, z)
    update_at(r, head, angles, z, before, u, m, share, step, real, imag, out)


@kernel
def update_cpu(start, stop, sizes, before, u, m, share, step, real, imag, out):
    not_inlined()
    disjoint()
    full_width()
    z = Sizes(*sizes)
    n, apart, vectors = z.width, z.heads * z.width, z.width // LANES * LANES
    first = start
    while first < stop:
        t, head, angles = place(first, z)
        last = min(stop, first + z.tokens - t)
        for j in range(0, vectors, LANES):
            at, of_real, of_imag = angles, load(real, head * n + j), load(imag, head * n + j)
            for r in range(first, last):
                add_vector(j, n, r * z.depth, at, broadcast(share[r * step]), before, u, m, of_real, of_imag, out)
                at += apart
        if vectors < n or z.harmonics > 1:
            for r in range(first, last):
                rho, at = share[r * step], angles + (r - first) * apart
                for j in range(vectors, n):
                    add_increment(j, n, r * z.depth, head * n, at, rho, before, u, m, real, imag, out)
                add_harmonics(r, head, at, z, u, m, rho, real, imag, out)
        first = last


@scalar
def pulled(c, s, x, y, upstream, real, imag):
    """dM_c, dM_s, dphi / k and d Re kappa of a moment (x, y); numbers or vectors."""
    p, q = frame(c, s, x, y)
    dp, dq = upstream * imag, upstream * real
    return dp * c - dq * s, dp * s + dq * c, dp * q - dq * p, upstream * q


@scalar
def pull_increment(j, n, at, kappa, angles, rho, order, before, g, u, m, real, imag, dm, dtheta):
    """dM; dtheta = before + dphi; returns d Re kappa."""
    c, s = u[nonnegative(at + j)], u[nonnegative(at + n + j)]
    x, y, upstream = m[nonnegative(at + j)], m[nonnegative(at + n + j)], rho * g[nonnegative(angles + j)]
    along, across, turned, found = pulled(
        c, s, x, y, upstream, real[nonnegative(kappa + j)], imag[nonnegative(kappa + j)]
    )
    dm[nonnegative(at + j)], dm[nonnegative(at + n + j)] = along, across
    dtheta[nonnegative(angles + j)] = before[nonnegative(angles + j)] + order * turned
    return found


@scalar
def pull_vector(j, n, at, angles, rho, order, before, g, u, m, real, imag, dm, dtheta):
    """`pull_increment` for ``LANES`` angles, with their coupling."""
    c, s = load(u, at + j), load(u, at + n + j)
    x, y, upstream = load(m, at + j), load(m, at + n + j), rho * load(g, angles + j)
    along, across, turned, found = pulled(c, s, x, y, upstream, real, imag)
    store(dm, at + j, along)
    store(dm, at + n + j, across)
    store(dtheta, angles + j, load(before, angles + j) + order * turned)
    return found


@scalar
def pull_harmonic(first, last, j, k, head, angles, z, before, g, u, m, share, step, real, imag, dm, dtheta):
    """Angle j of harmonic k + 1 of a head in the rows [first, last); the sum of d Re kappa."""
    n, total, order = z.width, type(u[0])(0), type(u[0])(k + 1)
    for r in range(first, last):
        total += pull_increment(
            j, n, r * z.depth + 2 * k * n, (k * z.heads + head) * n, angles, share[r * step], order, before, g, u, m,
            real, imag, dm, dtheta,
        )  # fmt: skip
        angles += z.heads * n
    return total


@scalar
def sum_imaginary(n, at, angles, term, rho, g, u, m, dimag):
    for j in range(n):
        c, s = u[nonnegative(at + j)], u[nonnegative(at + n + j)]
        x, y = m[nonnegative(at + j)], m[nonnegative(at + n + j)]
        dimag[nonnegative(term + j)] += rho * g[nonnegative(angles + j)] * (c * x + s * y)


@scalar
def pull_update_row(i, sizes, before, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag):
    """Piece i: dM; dtheta = before + dphi; its sums of the gradients of kappa (dimag unless it is empty)."""
    z = Sizes(*sizes)
    first, last, (_, head, angles) = piece(i, z)
    for j in range(z.width):
        dreal[i * z.harmonics * z.width + j] = pull_harmonic(
            first, last, j, 0, head, angles, z, before, g, u, m, share, step, real, imag, dm, dtheta
        )
    pull_more(i, first, last, head, angles, z, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag)


@scalar
def pull_more(i, first, last, head, angles, z, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag):
    """Harmonics beyond the first of piece i, and what belongs to an imaginary coupling."""
    n = z.width
    for k in range(1, z.harmonics):
        for j in range(n):
            dreal[nonnegative((i * z.harmonics + k) * n + j)] = pull_harmonic(
                first, last, j, k, head, angles, z, dtheta, g, u, m, share, step, real, imag, dm, dtheta
            )
    if dimag.size:
        fill(dimag, i * z.harmonics * n, z.harmonics * n, type(u[0])(0))
        for r in range(first, last):
            for k in range(z.harmonics):
                term, at = (i * z.harmonics + k) * n, r * z.depth + 2 * k * n
                sum_imaginary(n, at, angles, term, share[r * step], g, u, m, dimag)
            angles += z.heads * n


@kernel
def pull_update_cpu(start, stop, sizes, before, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag):
    not_inlined()
    disjoint()
    full_width()
    z = Sizes(*sizes)
    n, apart, vectors, zero = z.width, z.heads * z.width, z.width // LANES * LANES, type(u[0])(0)
    one = broadcast(type(zero)(1))
    for i in range(start, stop):
        first, last, (_, head, angles) = piece(nonnegative(i), z)
        for j in range(0, vectors, LANES):
            total, at, of_real, of_imag = broadcast(zero), angles, load(real, head * n + j), load(imag, head * n + j)
            for r in range(first, last):
                total = total + pull_vector(
                    j, n, r * z.depth, at, broadcast(share[r * step]), one, before, g, u, m, of_real, of_imag, dm,
                    dtheta,
                )  # fmt: skip
                at += apart
            store(dreal, i * z.harmonics * n + j, total)
        for j in range(vectors, n):
            dreal[nonnegative(i * z.harmonics * n + j)] = pull_harmonic(
                first, last, j, 0, head, angles, z, before, g, u, m, share, step, real, imag, dm, dtheta
            )
        pull_more(i, first, last, head, angles, z, g, u, m, share, step, real, imag, dm, dtheta, dreal, dimag)


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
