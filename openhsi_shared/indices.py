"""Spectral indices: formulas over wavelengths in nm, such as the normalised difference vegetation index.

A formula is text. `R800` is the band nearest to 800 nm, `R640_670` the mean of the bands from 640 to 670 nm; they are
joined by numbers, `+ - * / **`, brackets, and `sqrt`, `log`, `exp`, `abs`. The text is parsed, never executed.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from openhsi_shared.errors import ArgumentError

__all__ = ["FORMULAS", "Formula", "parse_formula"]

FORMULAS: Mapping[str, str] = MappingProxyType(
    {
        "ndvi": "(R800-R670)/(R800+R670)",
        "ndwi": "(R560-R860)/(R560+R860)",
        "pri": "(R531-R570)/(R531+R570)",
    }
)
"""Formulas with a name. Vegetation: Rouse et al. 1974 (NASA SP-351, 309-317), with narrow bands; water: McFeeters 1996
(Int. J. Remote Sensing 17, 1425-1432); photochemical reflectance: Gamon et al. 1992 (Remote Sens. Environ. 41, 35-44).
"""

MAX_LENGTH = 400
"""Characters of a formula."""
MAX_DISTANCE_NM = 15.0
"""The band of a wavelength is at most so far away from it, as in pictures."""
TERM = re.compile(r"R(\d{2,5})(?:_(\d{2,5}))?")
EXPECTED = (
    f"expected one of {', '.join(FORMULAS)}, or such as (R800-R670)/(R800+R670) or R800/R670: R and a wavelength in "
    "nm, R640_670 for a mean of bands, numbers, + - * / ** ( ), sqrt, log, exp, abs"
)
_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {"sqrt": np.sqrt, "log": np.log, "exp": np.exp, "abs": np.abs}

Values = Mapping[str, NDArray[np.float64]]
Node = Callable[[Values], Any]


@dataclass(frozen=True)
class Formula:
    """A formula that was parsed."""

    text: str
    terms: tuple[str, ...]
    """The wavelengths in it, such as R800, each once, in the order of the text."""
    compute: Node
    """The values of the formula from those of its terms, float64 arrays of one shape; use `index`."""

    def bands(self, wavelengths_nm: ArrayLike) -> list[NDArray[np.intp]]:
        """The indices of the bands of each term, in increasing order.

        ArgumentError, with what there is, for a wavelength that is more than 15 nm away from all bands, a range without
        bands, two wavelengths with the same bands, whose difference would be 0, and wavelengths that are NaN.
        """
        wavelengths = np.asarray(wavelengths_nm, dtype=np.float64)
        if wavelengths.ndim != 1 or wavelengths.size == 0 or not np.isfinite(wavelengths).all():
            raise ArgumentError(f"{self.text!r} needs the wavelength of each band, and some are NaN, or there are none")
        found: dict[tuple[int, ...], str] = {}
        for term in self.terms:
            bands = tuple(_bands_of(term, wavelengths).tolist())
            if bands in found:
                raise ArgumentError(
                    f"{found[bands]} and {term} of {self.text!r} are the same bands, at {wavelengths[list(bands)]} nm: "
                    f"expected wavelengths that the {wavelengths.size} bands can tell apart"
                )
            found[bands] = term
        return [np.array(bands, np.intp) for bands in found]

    def index(self, values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
        """Compute the formula, elementwise, from the values of each of `terms`: float64 arrays of one shape.

        NaN wherever a value, or the result of an operation, is not finite: NaN or infinity in a band, a denominator of
        0, a root or logarithm of what has none; also where the formula would hide it (1/inf, NaN**0).

        >>> parse_formula("R800/R670").index([np.array([4.0, 1.0, 1.0]), np.array([2.0, 0.0, np.inf])]).tolist()
        [2.0, nan, nan]
        """
        with np.errstate(all="ignore"):
            finite = {
                term: np.where(np.isfinite(value), value, np.nan)
                for term, value in zip(self.terms, values, strict=True)
            }
            return np.asarray(self.compute(finite), np.float64)

    def of_lines(self, lines: NDArray[Any], bands: Sequence[NDArray[np.intp]]) -> NDArray[np.float64]:
        """Compute the formula for each pixel of lines (n, x, band), with the `bands` of its terms: (n, x)."""
        values = [np.empty(lines.shape[:2]) for _ in bands]
        with np.errstate(all="ignore"):  # what overflows is not finite, and becomes NaN
            for value, indices in zip(values, bands, strict=True):
                if len(indices) == 1:
                    value[:] = lines[:, :, indices[0]]
                else:
                    for line, mean in zip(lines, value, strict=True):  # the same sums in blocks of any size
                        np.mean(np.take(line, indices, axis=1).astype(np.float64), axis=1, out=mean)
        return self.index(values)


def parse_formula(text: str) -> Formula:
    """Parse a formula, or the name of one of `FORMULAS`. ArgumentError for all else, with what is allowed.

    >>> parse_formula("ndvi").terms
    ('R800', 'R670')
    """
    if not isinstance(text, str) or not text.strip():
        raise ArgumentError(f"an index has a formula, got {text!r}: {EXPECTED}")
    formula = FORMULAS.get(text.strip().casefold(), text.strip())
    if len(formula) > MAX_LENGTH:
        raise ArgumentError(f"a formula has at most {MAX_LENGTH} characters, got {len(formula)}: {formula!r:.60}")
    terms: dict[str, None] = {}
    try:
        compute = _node(ast.parse(formula, mode="eval").body, terms)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        if isinstance(error, ArgumentError):
            raise ArgumentError(f"{formula!r} is no formula of an index: {error}; {EXPECTED}") from None
        raise ArgumentError(f"{formula!r} is no formula of an index; {EXPECTED}") from error
    if not terms:
        raise ArgumentError(f"{formula!r} is no formula of an index: no wavelength is in it; {EXPECTED}")
    return Formula(formula, tuple(terms), compute)


def _node(node: ast.AST, terms: dict[str, None]) -> Node:
    """The function that computes a part of a formula; all that is not in the tables is refused."""
    match node:
        case ast.Constant(value=int() | float() as value) if not isinstance(value, bool) and abs(value) < 1e300:
            number = np.float64(value)  # not a float of Python, which raises where numpy gives infinity
            return lambda _: number
        case ast.Name(id=name):
            wanted = TERM.fullmatch(name)
            if wanted is None or (wanted[2] and int(wanted[2]) <= int(wanted[1])):
                raise ArgumentError(f"{name} is no wavelength")
            terms[name] = None
            return lambda values: values[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _OPERATORS:
            sign, of = _OPERATORS[type(op)], _node(operand, terms)
            return lambda values: sign(of(values))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            function, one, other = _OPERATORS[type(op)], _node(left, terms), _node(right, terms)
            return lambda values: _finite(function, one(values), other(values))
        case ast.Call(func=ast.Name(id=name), args=[operand], keywords=[]) if name in _FUNCTIONS:
            function, of = _FUNCTIONS[name], _node(operand, terms)
            return lambda values: _finite(function, of(values))
    raise ArgumentError(f"{ast.unparse(node)!r:.60} is not allowed")


def _finite(function: Callable[..., Any], *values: Any) -> Any:
    """Apply it; NaN where the result is infinite, or a value is NaN: NaN**0 is 1, and 1/infinity is 0."""
    result = function(*values)
    is_lost = ~np.isfinite(result)
    for value in values:
        is_lost |= np.isnan(value)
    return np.where(is_lost, np.nan, result)


def _bands_of(term: str, wavelengths: NDArray[np.float64]) -> NDArray[np.intp]:
    wanted = TERM.fullmatch(term)
    low, high = float(wanted[1]), float(wanted[2] or wanted[1])  # type: ignore[index]
    there = f"there are {wavelengths.size} bands from {wavelengths.min():.6g} to {wavelengths.max():.6g} nm"
    if low < high:
        inside = np.flatnonzero((wavelengths >= low) & (wavelengths <= high))
        if inside.size == 0 or low < wavelengths.min() - MAX_DISTANCE_NM or high > wavelengths.max() + MAX_DISTANCE_NM:
            raise ArgumentError(f"{term} is not in the spectrum: {there}")
        return inside
    nearest = int(np.argmin(np.abs(wavelengths - low)))
    if abs(wavelengths[nearest] - low) > MAX_DISTANCE_NM:
        raise ArgumentError(f"{term} has no band within {MAX_DISTANCE_NM:g} nm: {there}")
    return np.array([nearest])
