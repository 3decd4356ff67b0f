"""What `family_gradients` compares with: every function in PyTorch, with all its options, as plain as its equation.

A text finds the arrays and numbers of its check by name, the functions of ``PRELUDE``, ``torch``, and ``allowed``
(queries, keys), booleans of band and mask; it sets ``out``.
"""

PRELUDE = """
def softmax(z):
    return torch.softmax(z.masked_fill(~allowed, -torch.inf), -1)

def ratio(w, eps=0.0):
    w = torch.where(allowed, w, 0)
    return w / (w.sum(-1, keepdim=True) + eps)

def grouped(x):
    return x.repeat_interleave(q.shape[-3] // x.shape[-3], -3)

def turned(x, first, base):
    half = x.shape[-1] // 2
    angle = torch.arange(first, first + x.shape[-2])[:, None] * base ** (-torch.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

def turned_both(q, k):
    later = k.shape[-2] - q.shape[-2]
    return (turned(q, later, rope), turned(k, 0, rope)) if rope else (q, k)

def points(theta):
    return torch.cat([theta.cos(), theta.sin()], -1)
"""

TEXTS = {
    "dot_product": """
q, k = turned_both(q, k)
ahead = torch.arange(k.shape[-2]) - torch.arange(k.shape[-2] - q.shape[-2], k.shape[-2])[:, None]
out = softmax(scale * q @ grouped(k).mT - alibi[:, None, None] * ahead.abs()) @ grouped(v)
""",
    "expressive": """
q, k = turned_both(q, k)
z = scale * q @ grouped(k).mT
out = ratio(z * z / (1 + z * z), eps) @ grouped(v)
""",
    "squared": """
q, k = turned_both(q, k)
k = grouped(k)
norms = (q * q).sum(-1, keepdim=True) * (allowed.to(k.dtype) @ (k * k).sum(-1, keepdim=True))
out = ratio((q @ k.mT) ** 2, 1e-6 * norms) @ grouped(v)
""",
    "linear": """
a, b = (torch.nn.functional.elu(x) + 1 for x in (q, k))
out = ratio(a @ grouped(b).mT) @ grouped(v)
""",
    "uniform": """
out = ratio(allowed.to(v.dtype)) @ v
""",
    "eigen": """
other = basis_key if basis_query is None else basis_query
q, k = turned_both(q, k @ basis_key @ other.mT)
out = softmax(scale * q @ grouped(k).mT) @ grouped(v @ basis_value) @ grouped(basis_value).mT
""",
    "elliptical": """
q, k = turned_both(q, k)
m = relevance if relevance.ndim == q.ndim else relevance[..., None, :]
k = grouped(k)
z = (q * m) @ k.mT
if distance:
    z = z - (m @ (k * k).mT + (m * q * q).sum(-1, keepdim=True)) / 2
out = softmax(scale * z) @ grouped(v)
""",
    "layer_relevance": """
counts = torch.ones(v_now.shape[:-1] + (1,)).to(v_now) if present is None else present[..., None].to(v_now)
change = (v_now - v_previous).abs() * counts
if causal:
    u = change.cumsum(-2) / counts.cumsum(-2) / delta
else:
    u = change.sum(-2) / counts.sum(-2) / delta
out = {"max": lambda: u / u.amax(-1, keepdim=True), "mean": lambda: u / u.mean(-1, keepdim=True), "": lambda: u}[how]()
""",
    "position_only": """
table = alpha if number is None else torch.where(number >= 0, alpha[..., number.clamp(min=0)], 0)
out = (softmax(table) if normalised else torch.where(allowed, table, 0)) @ v
""",
    "kuramoto": """
keys = theta if memory is None else memory
(batch, tokens, d), n = theta.shape, keys.shape[1]
split = lambda x: x.unflatten(-1, (heads, d // heads)).transpose(-2, -3)
difference = lambda a, b: split(b)[..., None, :, :] - split(a)[..., :, None, :]
here, there = torch.arange(n - tokens, n)[:, None], torch.arange(n)[:, None]
omega = drift.repeat(d // drift.numel())
drifting, still = difference(theta + omega * here, keys + omega * there), difference(theta, keys)
a, b = (split(g.expand(x.shape)) for g, x in ((gate_query, theta), (gate_key, keys)))
scores = beta[:, None, None] * torch.einsum("...tc,...uc,...tuc->...tu", a, b, drifting.cos())
weights, seen = softmax(scores), drifting if drift_values else still
moment = lambda w, k, x: (w[..., None] * torch.exp(1j * k * x)).sum(-2)
m = moment(weights, 1, seen)
if update == "tangent":
    kernel = coupling.expand(*coupling.shape[:2], d).unflatten(-1, (heads, 1, d // heads))
    moved = sum(kernel[0, k] * moment(weights, k + 1, seen) for k in range(kernel.shape[1]))
    if kernel.shape[0] == 2:
        earlier = torch.where(before, weights, 0)
        seen = seen.roll(-1, -2)
        moved = moved + sum(kernel[1, k] * moment(earlier, k + 1, seen) for k in range(kernel.shape[1]))
    moved = moved.imag
else:
    moved = m.imag / m.abs() if update == "direction" else m.angle()
out = theta + step * moved.transpose(-2, -3).flatten(-2)
""",
    "phase_gate": """
out = torch.nn.functional.softplus(points(theta) @ weight.mT + bias)
""",
    "phase_feed_forward": """
x = points(theta)
out = theta + (torch.nn.functional.silu(x @ W1.mT) * (x @ W2.mT)) @ W3.mT
""",
    "von_mises_readout": """
out = (kappa * (theta[..., None, :] - embedding).cos()).sum(-1) + bias
""",
    "collective_modes": """
split = lambda x: x.unflatten(-1, (heads, -1)).transpose(-2, -3)
difference = split(modes)[..., None, :, :] - split(theta)[..., :, None, :]
scores = beta[:, None, None] * torch.einsum("huc,...htuc->...htu", split(gate), difference.cos())
turn = (torch.softmax(scores, -1)[..., None] * difference.sin()).sum(-2)
out = theta + step * turn.transpose(-2, -3).flatten(-2)
""",
}
