"""The report on a text: which passages resonate, why, what it costs, and whether the score is a kernel.

`read` and `prepare` turn files into a `Material`; `write` makes the page and its files; ``VIEWS`` and ``SECTIONS`` are
the tables to which a new mechanism or a new chapter is added.

Needs ``pip install "primeattn[report]"``.
"""

from .finding import Finding, Picture
from .gather import prepare, read
from .material import Material, Passage
from .sections import SECTIONS, Section
from .views import VIEWS, Claim, Shared, View
from .writing import write

__all__ = [
    "SECTIONS",
    "VIEWS",
    "Claim",
    "Finding",
    "Material",
    "Passage",
    "Picture",
    "Section",
    "Shared",
    "View",
    "prepare",
    "read",
    "write",
]
