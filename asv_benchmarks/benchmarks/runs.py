"""What a run costs beside the model: batches, evaluation by a sliding window, checkpoints."""

import shutil
import tempfile
from pathlib import Path

import primeattn as pa

from . import size


class Run:
    """A model of 17,000 parameters on NT(2, 10), 64 sequences a step; a text of 270 kB at a context of 64."""

    timeout = 300

    def setup(self):
        self.task = pa.train.NT(2, 10)
        self.text = pa.train.TextTask(context=64, most=size(4096, 4))
        self.model = self._model(self.task.vocabulary, self.task.context)
        self.reader = self._model(256, 64)
        self.folder = Path(tempfile.mkdtemp())
        self.time_steps()
        self.time_evaluation()

    def teardown(self):
        shutil.rmtree(self.folder)

    def _model(self, vocabulary, context):
        return pa.nn.LanguageModel(layers=1, width=32, heads=1, context=context, vocabulary=vocabulary, hidden=128)

    def time_batch(self):
        self.text.batch(0, 16)

    def time_steps(self):
        pa.train.fit(self.model, self.task, steps=size(20, 2), batch=64, evaluate_every=0)

    def time_steps_and_checkpoints(self):
        where = self.folder / "run"
        options = {"steps": size(20, 2), "batch": 64, "evaluate_every": 0, "checkpoint_every": 0.0}
        pa.train.fit(self.model, self.task, checkpoint=where, resume=False, **options)

    def time_evaluation(self):
        pa.train.evaluate(self.reader, self.text, split="validation")

    def time_xz(self):
        self.text.xz_bits()
