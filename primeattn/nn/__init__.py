"""Layers, models and optimisers without autograd: each file has its forward pass above its backward pass."""

from .adamw import AdamW
from .clipping import clip
from .embedding import Embedding, TiedHead
from .gradient_check import GradientReport, gradient_check
from .layer import Layer
from .linear import Linear
from .mixing import Mixing
from .model import LanguageModel
from .parameters import Parameter, Parameters
from .phases import CollectiveModes, OnCircle, PhaseEmbedding, PhaseMixing, VonMisesReadout
from .positions import Positions
from .residual import Residual
from .rms_norm import RMSNorm
from .schedules import constant, cosine
from .swiglu import SwiGLU
from .tape import Tape

__all__ = [
    "AdamW",
    "CollectiveModes",
    "Embedding",
    "GradientReport",
    "LanguageModel",
    "Layer",
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
]
