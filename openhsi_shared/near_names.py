"""Which known name a mistyped one may mean, as a part of an error message."""

from collections.abc import Iterable

__all__ = ["nearest_name", "nearest_or_all"]


def nearest_name(name: str, known: Iterable[object]) -> str:
    """The known name closest to `name`, or an empty text.

    >>> nearest_name("exposure_mss", ["exposure_ms", "luminance"])
    ' (did you mean exposure_ms?)'
    """
    by_lower = {str(each).lower(): each for each in known}
    from difflib import get_close_matches  # not above: it takes 5 ms

    near = get_close_matches(name.lower(), by_lower, 1)
    return f" (did you mean {by_lower[near[0]]}?)" if near else ""


def nearest_or_all(name: str, known: Iterable[str]) -> str:
    """The end of a message: the known name closest to `name`, else which there are, 20 at most.

    >>> nearest_or_all("expsure", ["exposure", "gain"]), nearest_or_all("x", ["exposure", "gain"])
    (": did you mean 'exposure'?", ": there are 'exposure', 'gain'")
    """
    known = list(known)
    from difflib import get_close_matches  # not above: it takes 5 ms

    near = get_close_matches(name, known, 1, 0.5)
    if near:
        return f": did you mean {near[0]!r}?"
    return f": there are {', '.join(map(repr, sorted(known)[:20]))}" if known else ""
