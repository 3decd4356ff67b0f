"""How much memory this machine has, for refusals that come before the work."""

import os


def physical_memory() -> int:
    """Bytes of memory of this machine; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return 8 << 30
