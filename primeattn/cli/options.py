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


def count(text: str) -> int:
    """A whole number from 1 on; 12k and 3M are numbers, too."""
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([kM]?)", text, re.ASCII)
    value = float(match[1]) * {"": 1, "k": 1e3, "M": 1e6}[match[2]] if match else 0
    if value < 1 or value != int(value):
        raise argparse.ArgumentTypeError(f"{short(text)}: a whole number from 1 on is wanted, such as 500, 20k, 3M")
    return int(value)


def seed(text: str) -> int:
    """A seed of at most 80 digits, those of NumPy's own and more."""
    if not text.isdecimal() or len(text) > 80:
        raise argparse.ArgumentTypeError(f"{short(text)}: a whole number from 0 on, of at most 80 digits, is wanted")
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{short(text)}: a number above 0 is wanted")
    return value


def assignment(text: str) -> tuple[str, str, object]:
    """TABLE.NAME=VALUE as three things; the value as TOML has it, or else as text."""
    import tomllib

    match = re.fullmatch(r"([a-z]+)\.(\w+)=(.*)", text, re.DOTALL)
    if match is None:
        raise argparse.ArgumentTypeError(f"{short(text)}: TABLE.NAME=VALUE is wanted, such as task.delay=5")
    try:
        value = tomllib.loads(f"value = {match[3]}")["value"]
    except tomllib.TOMLDecodeError:
        value = match[3]
    return match[1], match[2], value
