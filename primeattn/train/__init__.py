"""Training: tasks, data, the loop, checkpoints, evaluation, comparisons of mechanisms."""

from ._compare import compare
from ._comparison import Comparison
from ._copying import Copy
from ._evaluate import evaluate
from ._fit import fit
from ._guard import NotFinite
from ._modular import ModularAddition
from ._nt import NT
from ._order import OrderDiscrimination
from ._recall import AssociativeRecall
from ._result import Result
from ._task import Batch, Sequences, Task
from ._text_task import TextTask
from ._texts import SOURCES, Source, Text, fetch, text, xz_bits

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (TextTask, NT, Copy, AssociativeRecall, ModularAddition, OrderDiscrimination)
}

__all__ = [
    "NT",
    "SOURCES",
    "TASKS",
    "AssociativeRecall",
    "Batch",
    "Comparison",
    "Copy",
    "ModularAddition",
    "NotFinite",
    "OrderDiscrimination",
    "Result",
    "Sequences",
    "Source",
    "Task",
    "Text",
    "TextTask",
    "compare",
    "evaluate",
    "fetch",
    "fit",
    "text",
    "xz_bits",
]
