"""Files that machines read: netCDF with every array, JSON with every number; all written whole or not at all."""

from __future__ import annotations

import json
import math
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from .._runtime.files import write_netcdf
from .finding import Finding
from .material import Material

SCHEMA = "primeattn.compare/1"


def plain(value: Any) -> Any:
    """JSON-ready: NumPy scalars and arrays become Python's, NaN and infinity become null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def versions() -> dict[str, str]:
    """What computed the report."""
    from .. import __version__

    found = {"primeattn": __version__, "python": platform.python_version()}
    for name in ("numpy", "numba", "scipy", "xarray", "matplotlib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found


def provenance(material: Material) -> dict[str, Any]:
    """Versions, machine, options and origin of the text."""
    return {
        "schema": SCHEMA,
        "versions": versions(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "about": material.about,
    }


def summary(material: Material, findings: dict[str, Finding]) -> str:
    """The JSON file."""
    content = provenance(material) | {
        "views": {
            name: {
                "title": view.title,
                "psd_by_proof": view.claim.holds,
                "theorem": view.claim.theorem,
                "cite": view.cite,
            }
            for name, view in material.views.items()
        },
        "lead": material.lead,
        "baseline": material.baseline,
        "passages": [
            {"number": i, "document": p.document, "title": p.title, "characters": len(p.text)}
            for i, p in enumerate(material.passages)
        ],
        "sections": {name: finding.facts for name, finding in findings.items()},
        "seconds": material.seconds,
    }
    return json.dumps(plain(content), indent=1, ensure_ascii=False, allow_nan=False)


def dataset(material: Material, findings: dict[str, Finding]):
    """Every array of the report as one xarray.Dataset, with labels and provenance.

    Returns
    -------
    xarray.Dataset
        Dimensions ``view``, ``passage``, ``other_passage`` and those of the sections.
    """
    import xarray

    titles = [passage.title for passage in material.passages]
    names = np.array(list(material.views))
    variables: dict[str, Any] = {}
    for finding in findings.values():
        variables.update(finding.arrays)
    states = material.states
    amplitude, orientation = np.asarray(states.amplitude), np.asarray(states.orientation)
    for name, dims, values, meaning in (
        ("state_start", ("edge",), np.asarray(states.indptr), "entries of passage i: state_start[i]:state_start[i+1]"),
        ("prime", ("entry",), np.asarray(states.primes), "active primes"),
        ("amplitude_real", ("entry",), np.ascontiguousarray(amplitude.real), "amplitude, real part"),
        ("amplitude_imag", ("entry",), np.ascontiguousarray(amplitude.imag), "amplitude, imaginary part"),
        ("orientation", ("entry", "quaternion"), orientation, "unit quaternions"),
    ):
        variables[name] = (dims, values, {"long_name": meaning})
    about = plain(provenance(material))
    attributes = {
        "title": str(material.about.get("title", "primeattn compare")),
        "source": f"primeattn {about['versions']['primeattn']}",
        "provenance": json.dumps(about, ensure_ascii=False),
    }
    coordinates = {
        "view": names,
        "passage_title": ("passage", np.array(titles)),
        "passage_document": ("passage", np.array(material.documents)),
        "quaternion": np.array(["w", "x", "y", "z"]),
    }
    return xarray.Dataset(variables, coords=coordinates, attrs=attributes)


def netcdf(material: Material, findings: dict[str, Finding], path: Path) -> Path:
    """Write the dataset, whole or not at all; matrices are compressed.

    Raises
    ------
    ImportError
        If h5netcdf is missing.
    """
    try:
        import h5netcdf  # noqa: F401
    except ImportError:
        raise ImportError('netCDF needs h5netcdf: pip install "primeattn[report]"') from None
    data = dataset(material, findings)
    packed = {"zlib": True, "complevel": 4}
    large = {name: packed for name, x in data.data_vars.items() if x.ndim > 1 and x.dtype.kind == "f"}
    write_netcdf(path, data, encoding=large)
    return path
