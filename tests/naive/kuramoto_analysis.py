"""The Kuramoto model as it is written: sums over j and k, one sine each. Complex phases work, for complex steps."""

import numpy as np


def derivative(theta, omega, terms, forcing=None, triadic=None, t=0.0, triangles=()):
    """theta'. ``terms``: (m, strength, lag), (N, N) each: strength_ij sin(m (theta_j - theta_i) - lag_ij).

    ``triangles``: (i, j, k, p, q), each felt by i.
    """
    n = len(theta)
    out = np.array(omega, complex)
    for i in range(n):
        for m, strength, lag in terms:
            for j in range(n):
                out[i] += strength[i][j] * np.sin(m * (theta[j] - theta[i]) - lag[i][j])
        if forcing is not None:
            f, nu, chi = forcing
            out[i] += f * np.sin(nu * t + chi - theta[i])
        if triadic is not None:
            p, q = triadic
            for j in range(n):
                for k in range(n):
                    out[i] += p / n**2 * np.sin(2 * theta[j] - theta[k] - theta[i])
                    out[i] += q / n**2 * np.sin(theta[j] + theta[k] - 2 * theta[i])
    for i, j, k, p, q in triangles:
        out[i] += p * np.sin(2 * theta[j] - theta[k] - theta[i]) + q * np.sin(theta[j] + theta[k] - 2 * theta[i])
    return out


def second_order(state, omega, terms, inertia, friction, **more):
    """(theta', theta'') of a model with inertia."""
    n = len(omega)
    theta, velocity = state[:n], state[n:]
    pull = derivative(theta, omega, terms, **more)
    return np.concatenate([velocity, [(pull[i] - friction[i] * velocity[i]) / inertia[i] for i in range(n)]])


def complex_step_jacobian(function, x):
    """Columns Im f(x + i h e_j) / h: exact to rounding for analytic f."""
    h = 1e-30
    columns = []
    for j in range(len(x)):
        shifted = np.array(x, complex)
        shifted[j] += 1j * h
        columns.append(function(shifted).imag / h)
    return np.array(columns).T


def lyapunov_of_map(step, jacobian, x, count):
    """All exponents, per step, of x -> step(x) with the given Jacobian: QR by Gram and Schmidt after each."""
    n = len(x)
    q, logs = np.eye(n), np.zeros(n)
    for _ in range(count):
        v = jacobian(x) @ q
        x = step(x)
        for a in range(n):
            for b in range(a):
                v[:, a] -= (v[:, b] @ v[:, a]) * v[:, b]
            length = np.sqrt(v[:, a] @ v[:, a])
            logs[a] += np.log(length)
            v[:, a] /= length
        q = v
    return logs / count
