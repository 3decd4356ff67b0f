"""The usual decoder: embedding, blocks of attention and feed-forward maps beside their inputs, norm, read-out."""

import math

import numpy as np

from .dropout import Dropout
from .embedding import Embedding, TiedHead
from .gelu_mlp import GeluMLP
from .layer import Layer
from .layer_norm import LayerNorm
from .linear import Linear
from .mixing import Mixing, positions_of
from .positions import Positions
from .residual import Residual
from .rms_norm import RMSNorm
from .swiglu import SwiGLU

NORMS = {"rms": RMSNorm, "layer": LayerNorm}
FEED_FORWARD = {"swiglu": SwiGLU, "gelu": GeluMLP}
OWN = {"norm": "rms", "feed_forward": "swiglu", "tied": True, "dropout": 0.0}


def build(config: dict, options: dict) -> list[tuple[str, Layer]]:
    """The layers of a model of vectors, by name; options other than `OWN` are those of the mechanism."""
    own = {name: options.get(name, usual) for name, usual in OWN.items()}
    rest = {name: value for name, value in options.items() if name not in OWN}
    norm = chosen("norm", NORMS, own["norm"])
    depth, context, vocabulary = config["layers"], config["context"], config["vocabulary"]
    positions = positions_of(config["mechanism"], config["positions"])
    rotary, gain = 10000.0 if positions == "rotary" else None, 1 / math.sqrt(2 * depth)
    sizes = [each(name, config[name], depth) for name in ("width", "heads", "hidden")]
    first = sizes[0][0]
    layers: list[tuple[str, Layer]] = [("embedding", Embedding(vocabulary, first))]
    if positions == "learned":
        layers.append(("positions", Positions(context, first)))

    def beside(width, inner):
        drop = Dropout(own["dropout"], len(layers)) if own["dropout"] else None
        return Residual(norm(width), inner, drop)

    now = first
    for i, (width, heads, hidden) in enumerate(zip(*sizes, strict=True)):
        if width != now:
            layers.append((f"{i}.resize", Linear(now, width)))
        mixing = Mixing(config["mechanism"], width, heads, context=context, rotary=rotary, gain=gain, **rest)
        layers.append((f"{i}.mixing", beside(width, mixing)))
        if own["feed_forward"] != "none":
            mlp = chosen("feed_forward", FEED_FORWARD, own["feed_forward"])(width, hidden, gain=gain)
            layers.append((f"{i}.feed_forward", beside(width, mlp)))
        now = width
    layers.append(("norm", norm(now)))
    if not own["tied"]:
        return [*layers, ("head", Linear(now, vocabulary))]
    if now != first:
        layers.append(("resize", Linear(now, first)))
    return [*layers, ("head", TiedHead(vocabulary, "embedding.table"))]


def chosen(name: str, table: dict, value):
    if value not in table:
        raise ValueError(f"{name} is {value!r}: one of {', '.join(map(repr, table))} is wanted")
    return table[value]


def each(name: str, value, depth: int) -> list[int]:
    """One number a block, from one for all or a list."""
    if isinstance(value, int | np.integer):
        return [int(value)] * depth
    if len(value) != depth:
        raise ValueError(f"{name} has {len(value)} numbers for {depth} layers: pass one a layer, or one for all")
    return [int(x) for x in value]
