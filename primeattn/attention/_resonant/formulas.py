"""What two tokens share on one prime, as formulas beside the scalars of `resonance`."""

import math

import numpy as np

from ...resonance._scalars import COS, ENTRY, MASS, MASSES, ORIGINAL, SIN, align, coherence, dalign, dshared_terms
from .._mechanism import Formula, Score

ALIGN = Formula("d**2", ("d",), lambda d: align(d, MASSES), {"d": ("2*d", lambda d: dalign(d, MASSES))})
#: The published score; at d = 0 the scalar of the derivative takes 0.
ALIGN_ORIGINAL = Formula(
    "Abs(d)", ("d",), lambda d: align(d, ORIGINAL), {"d": ("sign(d)", lambda d: dalign(d, ORIGINAL))}
)


def _entry(phase: float) -> np.ndarray:
    """An active prime of mass 1."""
    entry = np.zeros(ENTRY)
    entry[MASS], entry[COS], entry[SIN] = 1, math.cos(phase), math.sin(phase)
    return entry


def _slope(phi: float, chi: float) -> float:
    """By phi: the gradients by cos phi and sin phi, along the circle."""
    pulled = dshared_terms(_entry(phi), 0, _entry(chi), 0, 0.0, 0.0, 1.0, MASSES, 0)
    return -math.sin(phi) * pulled[2] + math.cos(phi) * pulled[3]


AGREE = Formula(
    "(1 + cos(phi - chi)) / 2",
    ("phi", "chi"),
    lambda phi, chi: coherence(_entry(phi), 0, _entry(chi), 0),
    {
        "phi": ("-sin(phi - chi) / 2", _slope),
        "chi": ("sin(phi - chi) / 2", lambda phi, chi: _slope(chi, phi)),
    },
)
WEIGHTS = {"alpha": "weight of the overlap", "beta": "weight of the alignment", "gamma": "weight of the coherence"}
#: m and n are the magnitudes on the prime, d the inner product of the two unit quaternions. A softmax is exp(z / tau).
SCORE = Score(
    Formula("z", ("z",), lambda z: z, {"z": ("1", lambda z: 1.0)}),
    "m*n*(alpha + beta*align(d) + gamma*agree(phi, chi))",
    {
        "m": "n*(alpha + beta*align(d) + gamma*agree(phi, chi))",
        "n": "m*(alpha + beta*align(d) + gamma*agree(phi, chi))",
        "d": "m*n*beta*dalign(d)",
        "phi": "-m*n*gamma*sin(phi - chi) / 2",
        "chi": "m*n*gamma*sin(phi - chi) / 2",
        "alpha": "m*n",
        "beta": "m*n*align(d)",
        "gamma": "m*n*agree(phi, chi)",
    },
    sides=(("m", "n"), ("phi", "chi")),
    kernels={"d": "an inner product of quaternions"},
    constants=WEIGHTS,
    parts={"align": ALIGN, "agree": AGREE},
)
