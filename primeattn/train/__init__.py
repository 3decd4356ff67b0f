"""Training: tasks, data, the loop, checkpoints, evaluation, comparisons of mechanisms."""

__all__: list[str] = []
