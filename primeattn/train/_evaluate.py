"""How well a model does."""

from typing import Any

from ._task import Task


def evaluate(model: Any, task: Task, *, split: str = "test", progress=None) -> dict[str, float]:
    """Figures of a model on held-out material of a task.

    Parameters
    ----------
    model : primeattn.nn.LanguageModel
        Anything with ``losses``, ``logits`` and ``config``.
    task : Task
    split : {"test", "validation"}
    progress : callable(float), optional
        Told the share that is done.

    Returns
    -------
    dict of str to float
        ``loss`` in nats; of text ``bits_per_character`` over a sliding window; of sequences ``accuracy`` and
        ``chance``; see the task.

    Raises
    ------
    ValueError
        If the model has too few tokens, or sees too few, or the split is unknown.

    Examples
    --------
    >>> import primeattn as pa
    >>> task = pa.train.Copy(symbols=2, length=2)
    >>> model = pa.nn.LanguageModel(layers=1, width=8, heads=1, context=4, vocabulary=3, rng=0)
    >>> sorted(pa.train.evaluate(model, task))
    ['accuracy', 'chance', 'loss', 'predictions']
    """
    check(model, task)
    return task.evaluate(model, split=split, progress=progress)


def check(model: Any, task: Task) -> None:
    """Refuse a model that does not fit a task, and what is neither."""
    config = getattr(model, "config", None)
    if not isinstance(config, dict):
        raise TypeError(f"model is {model!r:.80}: a primeattn.nn.LanguageModel is wanted")
    if not callable(getattr(task, "batch", None)) or not callable(getattr(task, "evaluate", None)):
        raise TypeError(f"task is {task!r:.80}: a task is wanted, such as primeattn.train.TextTask()")
    if config["vocabulary"] < task.vocabulary:
        raise ValueError(
            f"the task {task.name} has {task.vocabulary} tokens and the model {config['vocabulary']}: "
            f"make it with vocabulary={task.vocabulary}"
        )
