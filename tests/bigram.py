"""A model with the face of ``nn.LanguageModel`` and nothing inside: a table of logits by the last token, in NumPy."""

import numpy as np

from primeattn import nn, train

TEXT = train.TextTask(b"the cat sat on the mat and the dog sat on the cat. " * 60, level="character", context=16)
SETTINGS = {"steps": 60, "batch": 4, "rate": 0.05, "log_every": 7, "evaluate_every": 20, "rng": 5}


class Bigram:
    def __init__(self, vocabulary=3, context=16, rng=0):
        self.config = {"mechanism": "bigram", "vocabulary": vocabulary, "context": context}
        start = lambda rng, shape: 0.1 * rng.standard_normal(shape)  # noqa: E731
        self.parameters = nn.Parameters(
            {
                "table": nn.Parameter((vocabulary, vocabulary), start, decay=True),
                "bias": nn.Parameter((vocabulary,), start),
            },
            rng,
        )

    def logits(self, inputs):
        return self.parameters.view("table")[inputs] + self.parameters.view("bias")

    def _log(self, inputs):
        z = self.logits(inputs).astype(np.float64)
        z = z - z.max(-1, keepdims=True)
        return z - np.log(np.exp(z).sum(-1, keepdims=True))

    def losses(self, inputs, targets):
        return -np.take_along_axis(self._log(inputs), targets[..., None], -1)[..., 0]

    def loss_and_gradient(self, inputs, targets, weights=None, *, seed=0, step=0, out=None):
        assert inputs.shape == targets.shape
        assert inputs.shape[1] <= self.config["context"]
        w = np.ones(inputs.shape) if weights is None else weights.astype(float)
        w = w / w.sum()
        log = self._log(inputs)
        d = np.exp(log) * w[..., None]
        np.subtract.at(d, (*np.indices(targets.shape), targets), w)
        out = self.parameters.zeros() if out is None else out
        out[:] = 0
        np.add.at(self.parameters.view("table", out), inputs, d)
        self.parameters.view("bias", out)[:] = d.sum((0, 1))
        return float(-(w * np.take_along_axis(log, targets[..., None], -1)[..., 0]).sum()), out

    def save(self, path):
        with open(path, "wb") as file:
            np.savez(file, values=self.parameters.values)
