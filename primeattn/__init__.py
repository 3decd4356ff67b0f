"""primeattn: a laboratory for attention with NumPy and Numba.

``import primeattn as pa`` compiles nothing, downloads nothing and asks no device anything: submodules
are imported when first used.
"""

from importlib import import_module as _import_module

__version__ = "0.1.0"

_ROOMS = (
    "primes",
    "quaternion",
    "circle",
    "encode",
    "corpus",
    "resonance",
    "attention",
    "dynamics",
    "study",
    "nn",
    "train",
    "plot",
    "report",
)
_NAMES = {
    "PrimeStates": "states",
    "Kuramoto": "dynamics",
    "simulate": "dynamics",
    "to_device": "_runtime.devices",
    "to_host": "_runtime.devices",
    "doctor": "_runtime.doctor",
}

__all__ = ["__version__", *_ROOMS, *_NAMES]


def __getattr__(name: str):
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")
    if name in _NAMES:
        value = getattr(_import_module(f"{__name__}.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
