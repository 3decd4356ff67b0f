"""Values of options that several commands take: sizes, encodings. Imports nothing of the library."""

from __future__ import annotations

import argparse
import codecs
import re

_MOST_BYTES = 4 << 30
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


def short(text: str) -> str:
    """What came, for a message."""
    return repr(text if len(text) <= 40 else f"{text[:37]}...")


def nbytes(text: str) -> int:
    """A size such as 5000000, 5MB or 5MiB."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmg]i?|)b?", text.strip().lower(), re.ASCII)
    value = round(float(match[1]) * _UNITS[match[2]]) if match else 0
    if not 1 <= value <= _MOST_BYTES:
        raise argparse.ArgumentTypeError(f"{short(text)} is no size: write 5000000, 5MB or 5MiB, up to 4GiB")
    return value


def encoding(text: str) -> str:
    """A name under which Python knows an encoding of text."""
    try:
        found = codecs.lookup(text)
        if not getattr(found, "_is_text_encoding", True):  # "hex" turns bytes into bytes
            raise LookupError
        found.decode(b"")  # "undefined" refuses even that
    except (LookupError, ValueError):
        raise argparse.ArgumentTypeError(
            f"Python knows no encoding of text {short(text)}; utf-8 and latin-1 are common"
        ) from None
    return found.name
