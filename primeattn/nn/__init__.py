"""Layers, models and optimisers without autograd: each file has its forward pass above its backward pass."""

from .adamw import AdamW
from .checking import GradientReport, gradient_check
from .checkpointed import Checkpointed
from .clipping import clip
from .dropout import Dropout
from .embedding import Embedding, TiedHead
from .gelu_mlp import GeluMLP
from .layer import Layer
from .layer_norm import LayerNorm
from .linear import Linear
from .mixing import Mixing
from .model import LanguageModel
from .parameters import Parameter, Parameters
from .phases import CollectiveModes, OnCircle, PhaseEmbedding, PhaseMixing, VonMisesReadout
from .positions import Positions
from .residual import Residual
from .rms_norm import RMSNorm
from .schedules import constant, cosine
from .sgd import SGD
from .sizing import sized
from .swiglu import SwiGLU
from .tape import Tape

__all__ = [
    "SGD",
    "AdamW",
    "Checkpointed",
    "CollectiveModes",
    "Dropout",
    "Embedding",
    "GeluMLP",
    "GradientReport",
    "LanguageModel",
    "Layer",
    "LayerNorm",
    "Linear",
    "Mixing",
    "OnCircle",
    "Parameter",
    "Parameters",
    "PhaseEmbedding",
    "PhaseMixing",
    "Positions",
    "RMSNorm",
    "Residual",
    "SwiGLU",
    "Tape",
    "TiedHead",
    "VonMisesReadout",
    "clip",
    "constant",
    "cosine",
    "gradient_check",
    "sized",
]
