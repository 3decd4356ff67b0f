"""Figures. Each function takes arrays (or DataArrays), draws on Matplotlib axes, and returns the axes.

Without ``ax`` a new pyplot figure is made, so that a notebook shows it; with ``ax`` nothing global is
touched. Scores use the colour map viridis, which keeps its order in grey and for colour-blind eyes;
everything else is drawn in ink, with one accent for what the figure is about.

Matplotlib is imported when a figure is drawn: ``pip install "primeattn[report]"``.
"""

from .attention import attention_maps
from .charts import agreement, components, lines, spectrum
from .maps import mirror_map, off_diagonal_limits, score_map, score_maps
from .of_dynamics import on_circle, order_parameter, raster, synchronization, trajectory
from .of_spheres import quaternion_orbits, token_paths
from .of_states import counts, phases, rank_frequency, sparsity
from .of_study import gram_spectra, kernel_profiles, order_by_layer, phase_portrait
from .of_training import learning

__all__ = [
    "agreement",
    "attention_maps",
    "components",
    "counts",
    "gram_spectra",
    "kernel_profiles",
    "learning",
    "lines",
    "mirror_map",
    "off_diagonal_limits",
    "on_circle",
    "order_by_layer",
    "order_parameter",
    "phase_portrait",
    "phases",
    "quaternion_orbits",
    "rank_frequency",
    "raster",
    "score_map",
    "score_maps",
    "sparsity",
    "spectrum",
    "synchronization",
    "token_paths",
    "trajectory",
]
