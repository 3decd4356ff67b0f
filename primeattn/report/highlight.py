"""Mark in a text what it shares with another one, the stronger the more it adds to their score."""

from collections.abc import Iterable
from html import escape
from itertools import pairwise

import numpy as np

from .views import Shared

STEPS = 3


def marked(text: str, shared: Iterable[Shared], side: int) -> str:
    """HTML of a text with what it shares in ``<mark class="m1">`` to ``m3``, strongest 3.

    Parameters
    ----------
    text : str
    shared : iterable of Shared
    side : {0, 1}
        Which of the two passages the text is.

    Returns
    -------
    str
        A word weighs the sum of what its features contribute; the heaviest word of the text is in ``m3``.

    Examples
    --------
    >>> from primeattn.report.views import Shared
    >>> marked("a < cat", [Shared("cat", 0.5, (((4, 7),), ()))], 0)
    'a &lt; <mark class="m3">cat</mark>'
    """
    weight = np.zeros(len(text))
    for item in shared:
        for start, stop in item.spans[side]:
            weight[start:stop] += item.contribution
    top = weight.max(initial=0.0)
    step = np.ceil(STEPS * weight / top - 1e-9).astype(int) if top > 0 else np.zeros(len(text), int)
    edges = [0, *(np.flatnonzero(np.diff(step)) + 1), len(text)]
    pieces = []
    for start, stop in pairwise(edges):
        piece = escape(text[start:stop])
        pieces.append(f'<mark class="m{step[start]}">{piece}</mark>' if start < stop and step[start] else piece)
    return "".join(pieces)
