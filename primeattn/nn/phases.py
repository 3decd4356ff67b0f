r"""Layers of angles, and the model that is made of them: tokens are phases on a torus from end to end.

With x = [cos theta; sin theta] of every token, and a gradient dx = [Xc; Xs] of it,

    dtheta = Xs cos theta - Xc sin theta.                                                                     (1)

x has length sqrt(d) whatever theta is, so nothing is normalised; any vector is tangent to the torus, so increments of
angles are just added.
"""

import math
from typing import Any

import numpy as np

from .._runtime import devices, linalg
from .._runtime.elementary.maps import POINTS, PULL_POINTS
from ..attention import vjp
from ..attention._trainable import Place, advance, attend, plan_of
from .elementwise import ADD, COLUMNS, SHIFT
from .embedding import Embedding
from .layer import Layer, flat, rows
from .mixing import Fields, add_learned, mechanism_of, positions_of
from .parameters import Parameter, constant, uniform
from .swiglu import SwiGLU
from .transformer import each


def points(theta, tape, factor=None):
    """[factor cos theta; factor sin theta] of every row (..., d), as (..., 2 d)."""
    d = tuple(theta.shape)[-1]
    x = tape.empty(*theta.shape[:-1], 2 * d)
    POINTS(theta.size // d, flat(theta), d, ones(d, theta) if factor is None else factor, flat(x))
    return x


def pull_points(x, dx, before, out, factor=None, dfactor=None) -> None:
    """out = ``before`` plus (1) times the factor; dfactor as the rows of `PULL_POINTS` give it."""
    d = tuple(x.shape)[-1] // 2
    PULL_POINTS(
        x.size // (2 * d), d, ones(d, x) if factor is None else factor, flat(x), flat(dx),
        nothing(x) if before is None else flat(before), flat(out), nothing(x) if dfactor is None else flat(dfactor),
    )  # fmt: skip


def ones(n: int, like):
    one = np.ones(n, like.dtype)
    return devices.to_device(one) if devices.is_device_array(like) else one


def nothing(like):
    return devices.empty(0, like.dtype, like=like)


class PhaseEmbedding(Embedding):
    """Angles of every token of the vocabulary, uniform on the circle at the start."""

    def parameters(self):
        return {"table": Parameter((self.vocabulary, self.width), uniform(-math.pi, math.pi), manifold="torus")}


class OnCircle(Layer):
    """theta + inner([cos theta; sin theta]): any layer from 2 d numbers to d as a map of angles.

    Parameters
    ----------
    inner : Layer
        With a SwiGLU it is the feed-forward layer of `attention.phase_feed_forward`.
    """

    def __init__(self, inner: Layer):
        self.inner = inner

    def parameters(self):
        return self.inner.parameters()

    def forward(self, p, theta, tape):
        x = points(theta, tape)
        tape.save(x)
        y = self.inner.forward(p, x, tape)
        ADD(y.size, flat(theta), flat(y))
        return y

    def backward(self, p, dy, tape, g):
        dx = self.inner.backward(p, dy, tape, g)
        (x,) = tape.load()
        dtheta = tape.empty(*dy.shape)
        pull_points(x, dx, dy, dtheta)
        return dtheta


class PhaseMixing(Layer):
    """Attention between the angles of a sequence, by any mechanism of angles; its output are angles again.

    Parameters
    ----------
    mechanism : str
        A key of ``MECHANISMS``.
    width : int
        Angles of a token.
    heads : int
    context : int
        The longest sequence.
    causal : bool
    **options
        Of the mechanism's layer; see ``trainable`` of its record.
    """

    def __init__(
        self, mechanism: str, width: int, heads: int, *, context: int = 256, causal: bool = True, **options: Any
    ):
        self.mechanism, self.width, self.heads = mechanism_of(mechanism, "angles")[0], width, heads
        self.plan = plan_of(self.mechanism, Place(width, heads, context, causal, None), options)
        self.fields = Fields(self.plan, 2 * width, None, fan=width)
        self.state = self.mechanism.inputs[0]

    def parameters(self):
        return self.fields.parameters() | {name: Parameter(*x) for name, x in self.plan.learned.items()}

    def _arrays(self, p, theta, tape, first: int = 0):
        """The angles, and what is projected from them: no heads are split off."""
        x = points(theta, tape) if self.fields.projected else None
        tape.save(x)
        fields = self.fields.forward(p, x, tape, first)
        wide = self.fields.projected
        shaped = {name: a.reshape((*theta.shape[:-1], wide[name].columns)) for name, a in fields.items()}
        return {self.state: theta} | shaped

    def forward(self, p, theta, tape):
        arrays = self._arrays(p, theta, tape)
        out, pullback = attend(self.mechanism, self.plan, arrays, {n: p[n] for n in self.plan.learned}, {})
        tape.save(pullback)
        return out

    def backward(self, p, dout, tape, g):
        (pullback,) = tape.load()
        gradients = pullback(dout)
        add_learned(self.plan, gradients, g)
        dtheta = gradients[self.state]
        if not self.fields.projected:
            tape.load()
            return dtheta
        dx = self.fields.backward(p, gradients, tape, g)
        (x,) = tape.load()
        total = tape.empty(*dout.shape)
        pull_points(x, dx, dtheta, total)
        tape.drop(dx)
        return total

    def memory(self):
        return {"position": 0, "past": {}}

    def step(self, p, theta, memory, tape):
        arrays = self._arrays(p, theta, tape, memory["position"])
        memory["position"] += theta.shape[1]
        return advance(self.mechanism, self.plan, arrays, {n: p[n] for n in self.plan.learned}, memory["past"], {})


class CollectiveModes(Layer):
    r"""Coupling to learned phases, in place of a feed-forward layer: `attention.collective_modes`.

    Parameters
    ----------
    width, heads : int
    modes : int
        How many.
    """

    def __init__(self, width: int, heads: int, modes: int):
        self.width, self.heads, self.modes = width, heads, modes

    def parameters(self):
        sharpness = 2 * (2 * self.heads / self.width) ** 0.5
        return {
            "modes": Parameter((self.modes, self.width), uniform(-math.pi, math.pi), manifold="torus"),
            "gate": Parameter((self.modes, self.width), constant(1.0)),
            "beta": Parameter((self.heads,), constant(sharpness)),
            "step": Parameter((self.width,), constant(0.5)),
        }

    def forward(self, p, theta, tape):
        out, pullback = vjp("collective_modes", theta, heads=self.heads, **p)
        tape.save(pullback)
        return out

    def backward(self, p, dout, tape, g):
        (pullback,) = tape.load()
        gradients = pullback(dout)
        for name, d in g.items():
            ADD(d.size, flat(gradients[name]), flat(d))
        return gradients["theta"]


class VonMisesReadout(Layer):
    r"""Logits of a vocabulary of phases: z_v = sum_c kappa_c cos(theta_c - E_vc) + b_v.

    With x = [cos theta; sin theta] and f_v = [kappa cos E_v; kappa sin E_v] it is z = x f' + b, so

        dx = dz f,    df = dz' x,    dE = kappa (Fs cos E - Fc sin E),    dkappa = sum_v (Fc cos E + Fs sin E)

    for df = [Fc; Fs], and db = sum over tokens of dz.

    Parameters
    ----------
    vocabulary, width : int
    table : str, optional
        The parameter whose angles are E; its own by default.
    """

    def __init__(self, vocabulary: int, width: int, table: str | None = None):
        self.vocabulary, self.width = vocabulary, width
        self.borrows = {} if table is None else {"table": table}

    def parameters(self):
        own = {"table": Parameter((self.vocabulary, self.width), uniform(-math.pi, math.pi), manifold="torus")}
        return {
            "concentration": Parameter((self.width,), constant((2 / self.width) ** 0.5)),
            "bias": Parameter((self.vocabulary,), constant(0.0)),
            **({} if self.borrows else own),
        }

    def forward(self, p, theta, tape):
        x, f = points(theta, tape), points(p["table"], tape, p["concentration"])
        z = tape.empty(*theta.shape[:-1], self.vocabulary)
        linalg.multiply(rows(x), f, rows(z), turn_b=True)
        SHIFT(z.size, flat(z), p["bias"], self.vocabulary, flat(z))
        tape.save(x, f)
        return z

    def backward(self, p, dz, tape, g):
        x, f = tape.load()
        d, tokens = self.width, dz.size // self.vocabulary
        dx, df, dtheta = tape.empty(*x.shape), tape.empty(*f.shape), tape.empty(*x.shape[:-1], d)
        linalg.multiply(rows(dz), f, rows(dx))
        linalg.multiply(rows(dz), rows(x), df, turn_a=True)
        COLUMNS(self.vocabulary, flat(dz), tokens, self.vocabulary, g["bias"])
        targets, dfactor = points(p["table"], tape), tape.empty(self.vocabulary, d)
        pull_points(targets, df, g["table"], g["table"], p["concentration"], dfactor)
        COLUMNS(d, flat(dfactor), self.vocabulary, d, g["concentration"])
        pull_points(x, dx, None, dtheta)
        return dtheta


FEED_FORWARD = ("swiglu", "modes", "none")


def build(config: dict, options: dict) -> list[tuple[str, Layer]]:
    """The layers of a model of angles, by name: embedding, blocks of attention and feed-forward maps, read-out.

    Among the options, ``feed_forward``: "swiglu" on cosines and sines, "modes" (`CollectiveModes`, as many as
    ``hidden``), or "none"; ``tied``: whether the read-out shares the phases of the embedding. The others are those of
    the mechanism.
    """
    positions_of(config["mechanism"], config["positions"])
    if config["positions"] == "learned":
        raise ValueError("positions is 'learned': angles know their order by the drift; pass drift='learned'")
    if not isinstance(config["width"], int | np.integer):
        raise ValueError(f"width is {config['width']!r}: angles have one width, as nothing projects them")
    options = dict(options)
    kind, tied = options.pop("feed_forward", "swiglu"), options.pop("tied", True)
    if kind not in FEED_FORWARD:
        raise ValueError(f"feed_forward is {kind!r}: one of {', '.join(map(repr, FEED_FORWARD))} is wanted")
    width, depth = int(config["width"]), config["layers"]
    gain = 1 / math.sqrt(2 * depth)
    sizes = [each(name, config[name], depth) for name in ("heads", "hidden")]
    layers: list[tuple[str, Layer]] = [("embedding", PhaseEmbedding(config["vocabulary"], width))]
    for i, (heads, hidden) in enumerate(zip(*sizes, strict=True)):
        layers.append(
            (f"{i}.mixing", PhaseMixing(config["mechanism"], width, heads, context=config["context"], **options))
        )
        if kind == "swiglu":
            layers.append((f"{i}.feed_forward", OnCircle(SwiGLU(2 * width, hidden, width, gain=gain))))
        elif kind == "modes":
            layers.append((f"{i}.feed_forward", CollectiveModes(width, heads, hidden)))
    return [*layers, ("head", VonMisesReadout(config["vocabulary"], width, "embedding.table" if tied else None))]
