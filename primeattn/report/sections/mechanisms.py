"""Every attention mechanism on the same words: where it looks, who agrees with it, what it claims. Nothing compiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..attending import Look, answer, claims, look, says, telling, title_of
from ..finding import Finding, Picture
from ..material import Material
from ..ranking import Agreement, agreements
from ..wording import sentence
from ..words import Words

EXAMPLES = 3
WIDEST = 5  # doublings from an even share to either end of the colours, at most


def find(material: Material) -> Finding:
    """Let every mechanism of the material attend the words of one passage."""
    words = material.words
    if words is None or not material.mechanisms:
        return Finding(facts={"words": [], "mechanisms": {}})
    looks = {name: look(mechanism, words) for name, mechanism in material.mechanisms.items()}
    claimed = {name: claims(mechanism) for name, mechanism in material.mechanisms.items()}
    table = _agreements(looks)
    examples = telling(looks, words, EXAMPLES)
    reach = _reach(looks)
    facts = {
        "finding": finding(looks, table, words),
        "passage": words.passage,
        "words": words.surfaces,
        "width": words.vectors.shape[1],
        "sentences": words.sentences,
        "mechanisms": {
            name: {
                "says": says(mechanism),
                "cite": mechanism.cite,
                "attended": float(np.median(looks[name].effective)),
                "blind": looks[name].blind,
                "properties": claimed[name],
                "examples": [_example(looks[name], words, i) for i in examples],
            }
            for name, mechanism in material.mechanisms.items()
        },
        "spearman": {a: {b: table[a][b].spearman for b in looks} for a in looks},
    }
    return Finding(
        facts=facts,
        arrays=_arrays(looks, table, words),
        pictures={"mechanisms": _picture(looks, words, reach)},
        shown=_shown(facts["mechanisms"], looks, words, reach, examples),
    )


def finding(looks: Mapping[str, Look], table: Mapping[str, Mapping[str, Agreement]], words: Words) -> str:
    """One sentence: who looks narrowly and who widely, who agrees with whom."""
    count = len(words.surfaces)
    wide = {name: float(np.nanmedian(np.append(found.effective, np.nan))) for name, found in looks.items()}
    known = {name: value for name, value in wide.items() if np.isfinite(value)}
    if not known:
        return "No mechanism gives any word a weight."
    order = sorted(known, key=known.__getitem__)
    low, high = order[0], order[-1]
    text = f"By {title_of(low)} a median word attends {known[low]:.1f} of {count} words"
    if low != high:
        text += f", by {title_of(high)} {known[high]:.1f}"
    names = list(looks)
    pairs = {(a, b): table[a][b].spearman for k, a in enumerate(names) for b in names[k + 1 :]}
    pairs = {pair: value for pair, value in pairs.items() if np.isfinite(value)}
    if pairs:
        near, far = max(pairs, key=pairs.__getitem__), min(pairs, key=pairs.__getitem__)
        if near == far:
            text += f"; the weights of the two have a rank correlation of {pairs[near]:.2f}"
        else:
            text += (
                f"; {_both(near)} rank the pairs of words most alike (correlation {pairs[near]:.2f}), {_both(far)} "
                f"least ({pairs[far]:.2f})"
            )
    return text.replace("-", "−") + "."


def _both(pair: tuple[str, str]) -> str:
    return " and ".join(map(title_of, pair))


def _agreements(looks: Mapping[str, Look]) -> dict[str, dict[str, Agreement]]:
    """Rank correlations of the weights between different places."""
    count = len(next(iter(looks.values())).weights)
    off = ~np.eye(count, dtype=bool)
    return agreements({name: found.multiples[off] for name, found in looks.items()})


def _reach(looks: Mapping[str, Look]) -> float:
    """Doublings of an even share that the colours span upwards, and as many downwards."""
    largest = max(float(np.abs(found.multiples).max(initial=0)) for found in looks.values())
    return float(np.clip(np.ceil(np.log2(max(largest, 1))), 1, WIDEST))


def _levels(found: Look, reach: float) -> np.ndarray:
    """log2 of absolute weights over an even share, within the colours."""
    return np.log2(np.clip(np.abs(found.multiples), 2.0**-reach, 2.0**reach))


def _example(found: Look, words: Words, i: int) -> dict[str, Any]:
    return {"query": i, "weight_on_itself": found.weights[i, i]} | answer(found, words, i)._asdict()


def _arrays(looks, table, words: Words) -> dict[str, tuple]:
    names, places = list(looks), np.arange(len(words.surfaces))
    return {
        "mechanism": (("mechanism",), np.array(names), {}),
        "query": (("query",), places, {"long_name": "place of the word that attends"}),
        "key": (("key",), places, {"long_name": "place of the word that is attended"}),
        "query_word": (("query",), np.array(words.surfaces), {}),
        "key_word": (("key",), np.array(words.surfaces), {}),
        "word_vector": (("query", "coordinate"), words.vectors, {"long_name": "vectors of the words"}),
        "weight": (
            ("mechanism", "query", "key"),
            np.stack([found.weights for found in looks.values()]),
            {"long_name": "attention weights of the words of one passage", "passage": words.passage},
        ),
        "attended_words": (
            ("mechanism", "query"),
            np.stack([found.effective for found in looks.values()]),
            {"long_name": "effective number of words attended to (exp of the entropy)"},
        ),
        "mechanism_spearman": (
            ("mechanism", "other_mechanism"),
            np.array([[table[a][b].spearman for b in names] for a in names]),
            {"long_name": "rank correlation of the weights between different places"},
        ),
    }


def _picture(looks: Mapping[str, Look], words: Words, reach: float) -> Picture:
    def draw(figure):
        from ... import plot

        weights = {sentence(title_of(name)): found.weights for name, found in looks.items()}
        plot.attention_maps(weights, tokens=words.surfaces, reach=reach, figure=figure)

    alt = f"{len(looks)} attention maps of the same {len(words.surfaces)} words on one colour scale."
    return Picture(draw, alt, 10, 8, page=False)


def _shown(
    facts: Mapping[str, dict], looks: Mapping[str, Look], words: Words, reach: float, examples: list[int]
) -> dict:
    """Matter for the template and its script."""
    from ...plot.attention import columns_of

    any_facts = next(iter(facts.values()))
    top = 2**reach
    return {
        "titles": {name: title_of(name) for name in looks},
        "levels": {name: _levels(found, reach) for name, found in looks.items()},
        "negative": {name: found.multiples < 0 for name, found in looks.items()},
        "signed": any((found.multiples < 0).any() for found in looks.values()),
        "reach": reach,
        "ends": (f"1/{top:g}", f"{top:g} times"),
        "columns": columns_of(len(looks)),
        "narrow": 1 if len(looks) < 4 else 2,
        "lines": [
            {"query": i, "lines": [_line(name, found, words, i) for name, found in looks.items()]} for i in examples
        ],
        "claimed": {name: fact["properties"] for name, fact in facts.items()},
        "properties": {name: claim["says"] for name, claim in any_facts["properties"].items()},
        "data": _data(looks, words, examples[0]),
    }


def _line(name: str, found: Look, words: Words, i: int) -> dict[str, Any]:
    """One row as a line of shaded words; the same shades as in the script."""
    row = found.multiples[i]
    share = row / (np.abs(row).sum() or 1)
    return {
        "title": title_of(name),
        "shades": np.minimum(1, np.sqrt(2 * np.abs(share))),
        "negative": row < 0,
        "answer": answer(found, words, i),
    }


def _data(looks: Mapping[str, Look], words: Words, query: int) -> dict[str, Any]:
    """What the script needs to show any row."""
    return {
        "words": words.surfaces,
        "query": query,
        "mechanisms": [
            {
                "title": title_of(name),
                "multiples": [[float(f"{x:.3g}") for x in row] for row in found.multiples],
                "answers": [answer(found, words, i) for i in range(len(words.surfaces))],
            }
            for name, found in looks.items()
        ],
    }
