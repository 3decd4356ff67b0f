"""A small table for Jupyter. Only currentColor and mid-tone hues, so that it reads on light and on dark pages."""

from html import escape

import numpy as np

ROWS = 8
CHIPS = 10
BAR = 3.6  # em, the length of the longest bar


def table(states) -> str:
    shown = states[:ROWS]
    entropy = shown.entropy()
    rows = "".join(_row(i, shown[i], entropy[i]) for i in range(len(shown)))
    left = len(states) - len(shown)
    more = f'<tr><td colspan="4" style="text-align:left;opacity:.7">and {left:,} more</td></tr>' if left else ""
    head = "".join(
        f'<th style="text-align:left">{x}</th>' for x in ("state", "primes", "entropy", "heaviest primes, by |a|")
    )
    return (
        f'<div style="overflow-x:auto"><div><b>PrimeStates</b>: {len(states):,} states, {states.nnz:,} entries, '
        f"{states.dtype}, {_size(states.nbytes)}</div>"
        f'<table style="background:transparent;color:inherit"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}{more}</tbody></table>"
        f'<div style="opacity:.7;font-size:85%">bar: |a| against the largest of its state; hue: phase (red 0, cyan '
        f"&pi;)</div></div>"
    )


def _row(i: int, state, entropy: float) -> str:
    name = str(i) if state.labels is None else escape(_short(str(state.labels[0])))
    size = np.abs(state.amplitude)
    order = np.argsort(-size, kind="stable")[:CHIPS]
    top = float(size.max(initial=0)) or 1.0
    chips = "".join(_chip(int(state.primes[e]), complex(state.amplitude[e]), float(size[e]) / top) for e in order)
    rest = f'<span style="opacity:.7"> +{state.nnz - len(order)}</span>' if state.nnz > len(order) else ""
    cell = '<td style="text-align:left">'
    return f"<tr>{cell}{name}</td>{cell}{state.nnz}</td>{cell}{entropy:.2f} bit</td>{cell}{chips}{rest}</td></tr>"


def _short(label: str, length: int = 48) -> str:
    return label if len(label) <= length else f"{label[: length - 1]}…"


def _chip(prime: int, amplitude: complex, share: float) -> str:
    hue = round(float(np.degrees(np.angle(amplitude)))) % 360
    colour = f"hsl({hue},65%,50%)"
    bar = f"linear-gradient({colour},{colour}) left bottom/{BAR * share:.2f}em 3px no-repeat"
    title = f"prime {prime}: |a| = {abs(amplitude):.3g}, phase {np.angle(amplitude):.2f} rad"
    style = f"display:inline-block;min-width:{BAR}em;margin:0 .4em .1em 0;padding-bottom:4px;background:{bar}"
    return f'<span title="{title}" style="{style}">{prime}</span>'


def _size(n_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.3g} {unit}" if unit != "B" else f"{n_bytes} B"
        n_bytes /= 1024
    return f"{n_bytes:.3g} GiB"
