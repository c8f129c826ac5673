"""Text for a terminal or a log: characters that would control it are shown escaped."""

import unicodedata

__all__ = ["printable"]

CONTROLLING = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of Unicode: control characters, marks of direction, surrogates, separators of lines."""
JOINERS = "\u200c\u200d"
"""Parts of ordinary words in some scripts."""


def printable(text: str) -> str:
    r"""Escape what a name or an attribute of a file must not do to a terminal: clear it, colour it, forge a line.

    >>> printable("sea\x1b[2J\n")
    'sea\\x1b[2J\\n'
    """
    return text if text.isprintable() else "".join(map(_escaped, text))


def _escaped(letter: str) -> str:
    if letter in JOINERS or unicodedata.category(letter) not in CONTROLLING:
        return letter
    return letter.encode("unicode_escape").decode("ascii")
