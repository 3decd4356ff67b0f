"""Models of every mechanism, of equal numbers of parameters: a step of training, and tokens one by one."""

import numpy as np

import primeattn as pa
from primeattn.attention import MECHANISMS

from . import size

NAMES = [name for name, mechanism in MECHANISMS.items() if mechanism.trainable is not None]


def model_of(name):
    """0.2M parameters, 256 tokens of context."""
    parameters, context = size((200_000, 256), (20_000, 16))
    return pa.nn.LanguageModel(**pa.nn.sized(name, parameters, layers=size(4, 1), context=context, vocabulary=256))


class Step:
    """Loss, gradient and AdamW of eight sequences, float32."""

    params = (NAMES,)
    param_names = ("mechanism",)
    timeout = 300

    def setup(self, name):
        self.model = model_of(name)
        self.optimizer = pa.nn.AdamW(self.model.parameters)
        self.ids = np.random.default_rng(0).integers(0, 256, (8, self.model.config["context"] + 1))
        self.time_step(name)

    def time_step(self, name):
        _, gradient = self.model.loss_and_gradient(self.ids[:, :-1], self.ids[:, 1:])
        self.optimizer.update(gradient)


class Decode:
    """A hundred tokens after a prompt of one."""

    params = (NAMES,)
    param_names = ("mechanism",)
    timeout = 300

    def setup(self, name):
        self.model = model_of(name)
        self.model.generate([0], 2)

    def time_hundred_tokens(self, name):
        self.model.generate([0], size(100, 10))
