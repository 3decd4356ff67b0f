"""asv benchmarks, one file a room. Kernels are warmed in `setup`; first calls are measured in `startup`.

With ``PRIMEATTN_SMOKE=1`` (``make bench-smoke``) every benchmark runs at sizes that take no time, to see that it runs:
its figures, and the sizes in its names, mean nothing then.
"""

import os


def size(full, smoke):
    """What a benchmark measures, or what is enough to see that it runs."""
    return smoke if os.environ.get("PRIMEATTN_SMOKE") == "1" else full
