"""What small models learn from this text, one a mechanism: equal parameters, equal tokens, in a given time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..attending import title_of
from ..finding import Finding, Picture
from ..material import Material

LEAST = 20_000  # bytes of text worth learning from
MODEL = {"layers": 2, "width": 64, "heads": 2, "context": 64}
PARAMETERS = 100_000
BATCH, RATE = 8, 4e-3
FEWEST = 20  # steps, however short the time
_WARM = 3  # steps after compilation that tell how long one takes
_LOOKS = 8


def find(material: Material, say: Callable[[str], object] = lambda what: None) -> Finding:
    """Train, with as many steps for all as the time allows; ``say`` is told what is going on."""
    from ... import train

    data = material.text.encode("utf-8", "replace")
    names = _trainable(material)
    if len(data) < LEAST or not names:
        return Finding(facts={"mechanisms": {}, "bytes": len(data)})
    task = train.TextTask(data, most=4096)
    begun = time.perf_counter()
    pace = {}
    for name in names:
        say(f"compiling {title_of(name)}")
        pace[name] = _seconds_a_step(name, task)
    left = 60 * material.training - (time.perf_counter() - begun)
    steps = rounded(left / (1.3 * sum(pace.values())))  # evaluations take their share
    results = {}
    for name in names:
        say(f"training {title_of(name)}")
        model = _model(name, task)
        result = train.fit(
            model, task, steps=steps, batch=BATCH, rate=RATE, evaluate_every=max(1, steps // _LOOKS), progress=False
        )
        results[name] = result, train.evaluate(model, task)
    return _finding(material, task, steps, results)


def _trainable(material: Material) -> list[str]:
    from ...attention import MECHANISMS

    return [name for name in material.mechanisms if name in MECHANISMS and MECHANISMS[name].trainable is not None]


def _model(name: str, task):
    from ...train._cells import model_of

    return model_of({"mechanism": name, **MODEL}, task, PARAMETERS, 0)


def _seconds_a_step(name: str, task) -> float:
    from ... import train

    model = _model(name, task)
    marks: list[float] = []
    train.fit(
        model,
        task,
        steps=1 + _WARM,
        batch=BATCH,
        evaluate_every=0,
        progress=lambda row: marks.append(time.perf_counter()),
    )
    return (marks[-1] - marks[0]) / _WARM


def rounded(steps: float) -> int:
    """Down to 1, 1.5, 2, 3, 5 or 7 times a power of ten, so that the same machine mostly makes the same choice.

    Examples
    --------
    >>> [rounded(x) for x in (3, 34, 199, 200, 8123)]
    [20, 30, 150, 200, 7000]
    """
    if steps <= FEWEST:
        return FEWEST
    power = 10 ** math.floor(math.log10(steps))
    return int(max(x * power for x in (1, 1.5, 2, 3, 5, 7) if x * power <= steps))


def _finding(material: Material, task, steps: int, results: dict[str, Any]) -> Finding:
    levels = {"single bytes": task.unigram_bits(), "xz": task.xz_bits()}
    facts: dict[str, Any] = {}
    curves = {}
    for name, (result, figures) in results.items():
        looks = result.evaluations
        curves[name] = [row["tokens"] for row in looks], [row["bits_per_character"] for row in looks]
        facts[name] = {
            "parameters": int(result.model.parameters.values.size),
            "bits_per_character": figures["bits_per_character"],
            "seconds": result.seconds,
            "tokens_per_second": result.rows[-1]["tokens"] / result.seconds,
        }
    order = sorted(facts, key=lambda name: facts[name]["bits_per_character"])
    tokens = np.array(curves[order[0]][0])
    tones = {name: k for k, name in enumerate(order)}
    grid = np.full((len(material.mechanisms), len(tokens)), np.nan)
    for row, name in zip(grid, material.mechanisms, strict=True):
        if name in curves:
            row[:] = curves[name][1]

    def draw(figure):
        from ... import plot

        shown = {title_of(name): curves[name] for name in order}
        plot.learning(shown, ax=figure.subplots(), levels=levels, tones={title_of(name): tones[name] for name in order})

    last = ", ".join(f"{title_of(name)} {facts[name]['bits_per_character']:.2f}" for name in order)
    return Finding(
        facts={
            "mechanisms": facts,
            "steps": steps,
            "tokens": int(tokens[-1]),
            "model": MODEL | {"parameters": PARAMETERS, "batch": BATCH, "rate": RATE},
            "controls": levels,
            "bytes": sum(map(len, task.text[1:])),
            "tested": len(task.text.test),
        },
        arrays={
            "learning": (
                ("mechanism", "tokens_seen"),
                grid,
                {"long_name": "bits per character of held-out text", "units": "bit"},
            ),
            "tokens_seen": (("tokens_seen",), tokens, {"long_name": "tokens seen in training"}),
        },
        pictures={
            "learning": Picture(draw, f"Bits per character against tokens seen; at the end {last}.", 6.6, 4.2),
        },
        shown={
            "order": order,
            "titles": {name: title_of(name) for name in order},
            "most": max(fact["bits_per_character"] for fact in facts.values()),
        },
    )
