"""A step of training a byte model, its memory, tokens of a stream, and the products that it is made of."""

import numpy as np

import primeattn as pa
from primeattn._runtime import linalg

from . import size

MODELS = size(
    {
        "1.1M": {"layers": 6, "width": 128, "heads": 4, "context": 256, "hidden": 320},
        "0.1M": {"layers": 2, "width": 64, "heads": 2, "context": 64, "hidden": 160},
    },
    {"1.1M": {"layers": 1, "width": 16, "heads": 2, "context": 16, "hidden": 16}},
)


class Step:
    """Loss, gradient and AdamW, float32, vocabulary 256, batches of 4,096 and 512 tokens."""

    params = (list(MODELS), [False, True])
    param_names = ("parameters", "checkpointing")
    timeout = 300

    def setup(self, name, checkpointing):
        self.model = pa.nn.LanguageModel(**MODELS[name], checkpointing=checkpointing)
        self.optimiser = pa.nn.AdamW(self.model.parameters)
        sequences = 16 if name == "1.1M" else 8
        self.ids = np.random.default_rng(0).integers(0, 256, (sequences, MODELS[name]["context"] + 1))
        self.gradient = self.model.parameters.zeros()
        self.step()

    def step(self):
        _, gradient = self.model.loss_and_gradient(self.ids[:, :-1], self.ids[:, 1:], out=self.gradient)
        self.optimiser.update(gradient)

    def time_step(self, name, checkpointing):
        self.step()

    def peakmem_step(self, name, checkpointing):
        self.step()


class Stream:
    """100 tokens, one by one."""

    timeout = 300

    def setup(self):
        self.model = pa.nn.LanguageModel(**MODELS["1.1M"])
        self.model.generate([0], 2)

    def time_hundred_tokens(self):
        self.model.generate([0], size(100, 10))


class Products:
    """``linalg.multiply`` of 512 rows, one thread: GFLOP/s of forward, of the input's gradient, of the weights'."""

    params = ([(128, 640), (320, 128), (64, 320)], ["forward", "inputs", "weights"])
    param_names = ("weights", "product")
    unit = "GFLOP/s"

    def setup(self, shape, product):
        x, w, y = (np.ones(s, np.float32) for s in ((512, shape[0]), shape, (512, shape[1])))
        self.arguments, self.options = {
            "forward": ((x, w, y), {}),
            "inputs": ((y, w, x), {"turn_b": True}),
            "weights": ((x, y, w), {"turn_a": True, "add": True}),
        }[product]

    def time_product(self, shape, product):
        with linalg.single_threaded():
            linalg.multiply(*self.arguments, **self.options)
