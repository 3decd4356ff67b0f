"""The usual decoder: embedding, blocks of attention and feed-forward maps beside their inputs, norm, read-out."""

import math

from .embedding import Embedding, TiedHead
from .layer import Layer
from .mixing import Mixing, positions_of
from .positions import Positions
from .residual import Residual
from .rms_norm import RMSNorm
from .swiglu import SwiGLU


def build(config: dict, options: dict) -> list[tuple[str, Layer]]:
    """The layers of a model of vectors, by name; the options are those of the mechanism."""
    width, depth, context = config["width"], config["layers"], config["context"]
    positions = positions_of(config["mechanism"], config["positions"])
    rotary = 10000.0 if positions == "rotary" else None
    gain = 1 / math.sqrt(2 * depth)
    layers: list[tuple[str, Layer]] = [("embedding", Embedding(config["vocabulary"], width))]
    if positions == "learned":
        layers.append(("positions", Positions(context, width)))
    for i in range(depth):
        mixing = Mixing(
            config["mechanism"], width, config["heads"], context=context, rotary=rotary, gain=gain, **options
        )
        layers.append((f"{i}.mixing", Residual(RMSNorm(width), mixing)))
        layers.append((f"{i}.feed_forward", Residual(RMSNorm(width), SwiGLU(width, config["hidden"], gain=gain))))
    return [*layers, ("norm", RMSNorm(width)), ("head", TiedHead(config["vocabulary"], "embedding.table"))]
