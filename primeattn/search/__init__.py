"""Search of text: passages as prime states, an exact index over them, and why each hit is one."""

from ._hits import Hit, Reason
from ._text_index import Source, TextIndex

__all__ = ["Hit", "Reason", "Source", "TextIndex"]
