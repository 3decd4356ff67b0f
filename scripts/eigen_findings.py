"""What eigen attention loses and saves, as printed on its theory page.

    python scripts/eigen_findings.py [--seeds 8] [--json FILE]
    python scripts/eigen_findings.py --decode [--threads 1] [--rounds 40]

The first prints relative errors of the output (512 tokens, width 64, causal) when 20 to 75% of the cache is saved, for
Gaussian queries, keys and values whose singular values fall as i^-a, in one common basis or in a basis each, and the
ranks that the two rules pick. The second times one decode step at 32,768 tokens, 8 heads of 64 and of 128, float32,
beside `dot_product_step`, the two in turns. Seconds on one core.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np

TOKENS, WIDTH = 512, 64
RANKS = (51, 38, 26, 16)


def draw(rng, exponent: float, common: bool):
    """q, k, v (tokens, width)."""
    falling = np.arange(1, WIDTH + 1) ** -exponent
    falling *= (WIDTH / (falling**2).sum()) ** 0.5  # the length of a layer-normalised vector
    bases = np.linalg.qr(rng.standard_normal((3, WIDTH, WIDTH)))[0]
    return [(rng.standard_normal((TOKENS, WIDTH)) * falling) @ bases[0 if common else i].T for i in range(3)]


def errors(exponent: float, common: bool, factorization: str, seeds: int) -> np.ndarray:
    """(seeds, ranks)."""
    from primeattn import attention

    rows = []
    for seed in range(seeds):
        q, k, v = draw(np.random.default_rng(seed), exponent, common)
        full, row = attention.dot_product(q, k, v, causal=True), []
        for rank in RANKS:
            bases = attention.eigen_bases(q, k, v, rank=rank, factorization=factorization)
            out = attention.eigen(q, k, v, causal=True, **bases.options)
            row.append(np.linalg.norm(out - full) / np.linalg.norm(full))
        rows.append(row)
    return np.array(rows)


def ranks(exponent: float, share: float = 0.9) -> dict[str, int]:
    """Ranks of keys that the rules pick."""
    from primeattn import attention

    q, k, v = draw(np.random.default_rng(0), exponent, True)
    rules = {rule: attention.eigen_bases(q, k, v, **{rule: share}) for rule in ("singular", "energy")}
    return {rule: int(bases.ranks_key.max()) for rule, bases in rules.items()}


def decode(width: int, rounds: int, tokens: int = 32768, heads: int = 8) -> dict[str, float]:
    """Median milliseconds of a step, the median of their ratios, and the bytes that a step reads."""
    from primeattn import attention

    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((heads, width, width // 2)))[0].astype(np.float32)
    bases = {"basis_key": basis, "basis_value": basis}
    full, narrow = attention.Cache(window=tokens), attention.EigenCache(window=tokens)
    x = rng.standard_normal((heads, 1, width)).astype(np.float32)
    attention.eigen_step(x, x, x, narrow, **bases)
    for _ in range(8):
        part = rng.standard_normal((heads, tokens // 8, width)).astype(np.float32)
        full.append(part, part)
        narrow.append(part @ basis, part @ basis)
    steps = {
        "dot_product_step": lambda: attention.dot_product_step(x, x, x, full),
        "eigen_step": lambda: attention.eigen_step(x, x, x, narrow, **bases),
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if i > 1:
                times[name].append(1e3 * (time.perf_counter() - start))
    found = {name: statistics.median(t) for name, t in times.items()}
    found["ratio"] = statistics.median(a / b for a, b in zip(*times.values(), strict=True))
    read = heads * tokens * 2 * width * 4
    return found | {"MB read, full": read / 1e6, "MB read, eigen": read / 2e6, "cache ratio": narrow.ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path, help="write the numbers here as well")
    options = parser.parse_args()
    if options.decode:
        os.environ["NUMBA_NUM_THREADS"] = str(options.threads)  # before Numba is imported
        found: dict = {width: decode(width, options.rounds) for width in (64, 128)}
        for width, row in found.items():
            print(f"8 heads of {width}, {options.threads} thread(s):", {n: round(x, 2) for n, x in row.items()})
    else:
        found = {}
        saved = [f"{1 - rank / WIDTH:.0%} saved" for rank in RANKS]
        print("| spectra | a | bases | " + " | ".join(saved) + " |\n" + "|---" * 7 + "|")
        for common in (True, False):
            for exponent in (1.0, 0.5, 0.25):
                for factorization in ("stacked", "score"):
                    table = errors(exponent, common, factorization, options.seeds)
                    name = f"{'one basis' if common else 'a basis each'} | {exponent:g} | {factorization}"
                    found[name] = table.tolist()
                    cells = [f"{m:.3f} ± {s:.3f}" for m, s in zip(table.mean(axis=0), table.std(axis=0), strict=True)]
                    print("|", name, "|", " | ".join(cells), "|")
        for exponent in (1.0, 0.5, 0.25):
            print(f"a = {exponent:g}: ranks at a share of 0.9: {ranks(exponent)}")
    if options.json:
        options.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
