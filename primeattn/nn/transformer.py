"""The usual decoder: embedding, blocks of attention and feed-forward maps beside their inputs, norm, read-out."""

import math

from .embedding import Embedding, TiedHead
from .layer import Layer
from .mixing import Mixing
from .residual import Residual
from .rms_norm import RMSNorm
from .swiglu import SwiGLU


def build(config: dict) -> list[tuple[str, Layer]]:
    """The layers of a model of vectors, by name."""
    width, depth = config["width"], config["layers"]
    gain = 1 / math.sqrt(2 * depth)
    layers: list[tuple[str, Layer]] = [("embedding", Embedding(config["vocabulary"], width))]
    for i in range(depth):
        mixing = Mixing(
            config["mechanism"], width, config["heads"], context=config["context"], rotary=rotary, gain=gain
        )
        layers.append((f"{i}.mixing", Residual(RMSNorm(width), mixing)))
        layers.append((f"{i}.feed_forward", Residual(RMSNorm(width), SwiGLU(width, config["hidden"], gain=gain))))
    return [*layers, ("norm", RMSNorm(width)), ("head", TiedHead(config["vocabulary"], "embedding.table"))]
