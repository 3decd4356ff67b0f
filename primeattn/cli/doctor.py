"""``primeattn doctor``: what this machine offers and what is missing."""

import argparse
import json

from .streams import put


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.description = "Print versions, threads, CUDA, the cache of compiled code, and what is missing."
    parser.epilog = "example:\n  primeattn doctor --json > environment.json"
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print one line a fact."""
    from .._runtime.doctor import doctor

    found = doctor()
    if arguments.json:
        put(json.dumps(found, indent=1))
    else:
        width = max(map(len, found))
        for name, value in found.items():
            put(f"{name:<{width}}  {value}")
    return 0
