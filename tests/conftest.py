"""Two passes over the same files: JIT on (default), and the CUDA simulator (``NUMBA_ENABLE_CUDASIM=1``).

Tests marked ``cudasim`` need a CUDA array: they run in the simulator or on a real device, and are deselected
elsewhere. In the simulator pass nothing else runs, because the JIT is off there.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

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


@pytest.fixture
def interrupted():
    """``interrupted(arguments, file)``: run the command line, press Ctrl-C when the file is there; code and stderr."""

    def run(arguments, file):
        command = [sys.executable, "-m", "primeattn.cli", *arguments]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
            while not Path(file).exists() and process.poll() is None:
                pass
            process.send_signal(signal.SIGINT)
            said = process.stderr.read()
        return process.returncode, said

    return run
