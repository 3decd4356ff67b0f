"""Two passes over the same files: JIT on (default), and the CUDA simulator (``NUMBA_ENABLE_CUDASIM=1``).

Tests marked ``cudasim`` need a CUDA array: they run in the simulator or on a real device, and are deselected
elsewhere. In the simulator pass nothing else runs, because the JIT is off there.
"""

import os

import pytest

SIMULATOR = os.environ.get("NUMBA_ENABLE_CUDASIM") == "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "cudasim: needs CUDA arrays (simulator or device); tiny sizes")


def _has_device() -> bool:
    if SIMULATOR:
        return True
    from numba import cuda

    return cuda.is_available()


def pytest_collection_modifyitems(config, items):
    device = _has_device()
    keep, drop = [], []
    for item in items:
        wants_device = item.get_closest_marker("cudasim") is not None
        runs = device if wants_device else not SIMULATOR
        (keep if runs else drop).append(item)
    if drop:
        config.hook.pytest_deselected(items=drop)
        items[:] = keep


@pytest.fixture
def rng():
    import numpy as np

    return np.random.default_rng(20260101)
