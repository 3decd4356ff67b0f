"""Retrieval on real text: resonance beside TF-IDF (scikit-learn) and BM25 (bm25s).

The collection is the default corpus, passages of the Python language reference. A passage is relevant to another one
if both are of the same topic. Five folds: the passages of one are the queries, those of the others the collection, to
which every system is fitted; a query is never in the collection. Queries come in two lengths, the whole passage and
its first sentence. All systems get the words of ``primeattn.encode.words``, without stemming or stop words; resonance
also hashes their 3-grams.

    python asv_benchmarks/peers/retrieval.py [--output docs/benchmarks/retrieval.md]

Prints (or writes) a page with mean reciprocal rank (of the first 100) and nDCG@10 (binary gains), 95% intervals by a
bootstrap over topics, and the paired difference from BM25. The peers run in a virtual environment of their own.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import primeattn as pa
from primeattn import corpus

FOLDS, DEPTH, RESAMPLES = 5, 100, 2000
LENGTHS = {"passage": "the whole passage", "sentence": "its first sentence"}
VARIANTS = {
    "union (default)": {},
    "union, overlap only (Jaccard)": {"weights": (1, 0, 0)},
    "sqrt": {"normalizer": "sqrt"},
    "Ruzicka": {"overlap": "ruzicka"},
    "Ruzicka, .8 .2 0": {"overlap": "ruzicka", "weights": (0.8, 0.2, 0)},
    "amplitude": {"amplitude": True},
    "amplitude, overlap only": {"amplitude": True, "weights": (1, 0, 0)},
    "amplitude, .5 .5 0": {"amplitude": True, "weights": (0.5, 0.5, 0)},
    "amplitude, .8 .2 0": {"amplitude": True, "weights": (0.8, 0.2, 0)},
    "original": {"kind": "original"},
}
ENCODERS = {"": {}, ", 256 primes": {"k": 256}}
WIDER = ("union (default)", "amplitude", "amplitude, .8 .2 0")  # with the second encoder as well
PEERS = """
import json, sys
import bm25s, numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
WORDS, FEATURES, BM25 = "TF-IDF cosine (scikit-learn)", "TF-IDF cosine, words and 3-grams", "BM25 (bm25s)"
found = {WORDS: [], FEATURES: [], BM25: []}
def grams(words):
    return words + [f" {w} "[i : i + 3] for w in words for i in range(len(w))]
depth = int(sys.argv[1])
for job in json.load(sys.stdin):
    documents, queries = job["documents"], job["queries"]
    k = min(depth, len(documents))
    same = lambda words: words
    for name, analyzer in ((WORDS, same), (FEATURES, grams)):
        vectors = TfidfVectorizer(analyzer=analyzer, sublinear_tf=True).fit(documents)
        scores = (vectors.transform(queries) @ vectors.transform(documents).T).toarray()
        found[name].append(np.argsort(-scores, axis=1, kind="stable")[:, :k].tolist())
    model = bm25s.BM25()
    model.index(documents, show_progress=False)
    ids, _ = model.retrieve(queries, k=k, show_progress=False, sorted=True)
    found[BM25].append(ids.tolist())
print(json.dumps(found))
"""


def first_sentence(text: str) -> str:
    """Up to the first end of a sentence after at least five words."""
    for match in re.finditer(r"[.!?](?=\s)", text):
        if len(text[: match.end()].split()) >= 5:
            return text[: match.end()]
    return text


def jobs(texts, topics, rng) -> list[dict]:
    """One a fold: collection, queries, and which of the collection are relevant to each query."""
    fold = rng.permutation(np.arange(len(texts)) % FOLDS)
    found = []
    for f in range(FOLDS):
        inside = np.flatnonzero(fold != f)
        relevant = {i: np.flatnonzero(topics[inside] == topics[i]) for i in np.flatnonzero(fold == f)}
        asked = [i for i, documents in relevant.items() if documents.size]
        found.append({"inside": inside, "asked": asked, "relevant": [set(relevant[i].tolist()) for i in asked]})
    return found


def quality(ranked, relevant) -> tuple[float, float]:
    """Reciprocal rank and nDCG@10 of one list of document numbers (negative: none)."""
    hits = np.array([document in relevant for document in ranked], dtype=bool)
    reciprocal = 1 / (1 + hits.argmax()) if hits.any() else 0.0
    discount = 1 / np.log2(np.arange(2, 12))
    gain = (hits[:10] * discount[: hits[:10].size]).sum()
    return reciprocal, gain / discount[: min(10, len(relevant))].sum()


def resonance(folds, texts, queries) -> dict[str, list]:
    """Ranked documents of every query, by every variant."""
    found: dict[str, list] = {}
    for job in folds:
        documents, asked = [texts[i] for i in job["inside"]], [queries[i] for i in job["asked"]]
        for suffix, settings in ENCODERS.items():
            encoder = pa.encode.TextEncoder.fit(documents, **settings)
            states, wanted = (pa.PrimeStates.from_arrays(*encoder.encode(t)) for t in (documents, asked))
            for name, options in VARIANTS.items():
                if not suffix or name in WIDER:
                    _, ids = pa.resonance.Index(states, **options).query(wanted, DEPTH)
                    found.setdefault(f"resonance, {name}{suffix}", []).append(ids.tolist())
    return found


def peers(folds, words, asked_words) -> tuple[dict[str, list], str]:
    """The same from the libraries, and their versions."""
    data = [
        {"documents": [words[i] for i in job["inside"]], "queries": [asked_words[i] for i in job["asked"]]}
        for job in folds
    ]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = Path(folder) / ("Scripts" if sys.platform == "win32" else "bin") / "python"
        install = [str(python), "-m", "pip", "install", "--quiet", "bm25s", "scikit-learn"]
        subprocess.run(install, check=True, stderr=subprocess.DEVNULL)
        show = "from importlib.metadata import version as v; print(*map(v, ('bm25s', 'scikit-learn')))"
        versions = subprocess.run([str(python), "-c", show], check=True, capture_output=True, text=True).stdout
        found: dict[str, list] = {}
        run = subprocess.run(
            [str(python), "-c", PEERS, str(DEPTH)], input=json.dumps(data), check=True, capture_output=True, text=True
        )
        found = json.loads(run.stdout)
    bm25s, sklearn = versions.split()
    return found, f"bm25s {bm25s}, scikit-learn {sklearn}"


def interval(values: np.ndarray) -> tuple[float, float]:
    return tuple(np.percentile(values, [2.5, 97.5]))


def page(results, groups, rng, heading: str) -> list[str]:
    """Rows of the table of one query length; ``results[name]`` is (n, 2)."""
    topics = np.unique(groups)
    members = [np.flatnonzero(groups == t) for t in topics]
    draws = [
        np.concatenate([members[t] for t in rng.integers(0, len(members), len(members))]) for _ in range(RESAMPLES)
    ]
    reference = results["BM25 (bm25s)"]
    lines = [
        f"## Queries: {heading}",
        "",
        "| system | MRR | 95% interval | minus BM25 | nDCG@10 | 95% interval | minus BM25 |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, values in sorted(results.items(), key=lambda item: -item[1][:, 0].mean()):
        cells = [name]
        for c in range(2):
            low, high = interval(np.array([values[d, c].mean() for d in draws]))
            difference = values[:, c] - reference[:, c]
            below, above = interval(np.array([difference[d].mean() for d in draws]))
            cells += [f"{values[:, c].mean():.3f}", f"{low:.3f} to {high:.3f}"]
            cells += ["" if values is reference else f"{difference.mean():+.3f} ({below:+.3f} to {above:+.3f})"]
        lines.append("| " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, help="write the page here instead of printing it")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = corpus.topics()
    texts, topics = [p.text for p in found], np.array([p.source for p in found])
    folds = jobs(texts, topics, np.random.default_rng(options.seed))
    groups = np.concatenate([topics[job["asked"]] for job in folds])
    words = [pa.encode.words(t) for t in texts]
    body: list[str] = []
    for length, heading in LENGTHS.items():
        queries = texts if length == "passage" else [first_sentence(t) for t in texts]
        asked_words = words if length == "passage" else [pa.encode.words(t) for t in queries]
        theirs, versions = peers(folds, words, asked_words)
        ranked = resonance(folds, texts, queries) | theirs
        results = {
            name: np.array(
                [
                    quality(row, relevant)
                    for job, rows in zip(folds, lists, strict=True)
                    for row, relevant in zip(rows, job["relevant"], strict=True)
                ]
            )
            for name, lists in ranked.items()
        }
        body += page(results, groups, np.random.default_rng(options.seed), heading)
    top = [
        "# Retrieval on real text",
        "",
        *__doc__.splitlines()[2:7],
        "",
        f"{len(texts)} passages of {len(set(topics))} topics, {len(groups)} queries from {len(set(groups))} topics "
        f"({FOLDS} folds, seed {options.seed}); Python {platform.python_version()}, primeattn {pa.__version__}, "
        f"{versions}. "
        f"Intervals: bootstrap over topics, {RESAMPLES:,} resamples. Made by `asv_benchmarks/peers/retrieval.py`.",
        "",
    ]
    text = "\n".join([*top, *body])
    if options.output:
        options.output.write_text(text, encoding="utf-8")
    else:
        print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
