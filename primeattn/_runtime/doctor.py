"""What this machine offers: versions, threads, CUDA, the JIT cache and what is missing."""

import importlib
import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version

from .jit import CACHE, kernel

_EXTRAS = {
    "matplotlib": "report",
    "rich": "report",
    "jinja2": "report",
    "h5netcdf": "report",
    "h5py": "report",
    "dask": "dask",
    "cupy": "gemm",
    "numba_cuda": "cuda",
}


def _installed(module: str, distribution: str | None = None) -> str:
    if importlib.util.find_spec(module) is None:
        return ""
    try:
        return version(distribution or module.replace("_", "-"))
    except PackageNotFoundError:
        return "present"


def _cuda_state() -> str:
    from . import devices

    module = devices.cuda()
    if os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
        return "simulator"
    if not module.is_available():
        return "no device: arrays stay on the CPU"
    device = module.get_current_device()
    name = device.name.decode() if isinstance(device.name, bytes) else device.name
    return f"{name}, compute capability {'.'.join(map(str, device.compute_capability))}"


@kernel
def _probe(start, stop):
    pass


def _cache_state() -> str:
    if not CACHE:
        return "off (PRIMEATTN_CACHE=0): every process compiles anew"
    where = getattr(getattr(_probe, "stats", None), "cache_path", None)
    if where is None:
        return "off: no folder to write to, so every process compiles anew; set NUMBA_CACHE_DIR to one"
    place, folder = os.path.split(where)
    return f"__pycache__ beside each module of {os.path.dirname(place)}" if folder == "__pycache__" else where


def doctor() -> dict[str, str]:
    """Describe this installation: versions, threads, CUDA, JIT cache, and extras that are missing.

    Returns
    -------
    dict of str
        One line each; ``primeattn doctor`` prints it.

    Examples
    --------
    >>> import primeattn as pa
    >>> pa.doctor()["primeattn"] == pa.__version__
    True
    """
    import numba

    from .. import __version__

    found = {
        "primeattn": __version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
    }
    for name in ("numpy", "numba", "llvmlite", "scipy", "sympy", "xarray"):
        found[name] = _installed(name) or "MISSING"
    for name, extra in _EXTRAS.items():
        found[name] = _installed(name) or f'not installed: pip install "primeattn[{extra}]"'
    found["threads"] = f"{numba.get_num_threads()} of {os.cpu_count()} (numba.set_num_threads, NUMBA_NUM_THREADS)"
    found["cuda"] = _cuda_state()
    found["jit cache"] = _cache_state()
    return found
