"""The stage of a function of the user: from lines to lines, or to rows of a table."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.errors import ArgumentError, OpenHSIError, StageNotApplicable
from openhsi_shared.jobs.stages.function_sources import remember, sources_of
from openhsi_shared.jobs.stages.results import as_line, as_rows, cast, is_rows, named_columns
from openhsi_shared.jobs.stages.row_fields import Field, fields_of, parse_fields
from openhsi_shared.jobs.stages.stage import LineFormat, Stage
from openhsi_shared.processes.printing import logged_prints
from openhsi_shared.processes.spawning import pack, unpack

__all__ = ["FunctionStage"]

Kind = Literal["auto", "line", "block", "rows"]
KINDS = ("auto", "line", "block", "rows")


@dataclass
class FunctionStage(Stage):
    """A function of one argument: a line (cross-track, wavelength), or lines (n, cross-track, wavelength), a copy.

    | kind | argument | result |
    |---|---|---|
    | "line" | a line | a line (x, bands) of any size, or (x,), a number for each pixel; the same size each time |
    | "block" | lines (n, cross-track, wavelength) | as many lines, each made of its own one alone |
    | "rows" | a line | the rows of a table, 0 to n: a list of mappings or tuples, a structured array, arrays by name |
    | "auto" | a line | "line" or "rows", by its first results |

    The function goes to workers by cloudpickle, also from a notebook: each has a copy, with copies of the variables
    that it uses. It is tried with some lines before the run: types and sizes are those of its results. A line for which
    it raises, or returns something else, has failed. Masked pixels become NaN; NaN and infinity stay what they are.
    What it prints is logged. It holds the interpreter's lock, so processes are used. ArgumentError for what cannot be
    called with a line, and for fields that do not fit.
    """

    code = "function"
    takes_strided_out = True
    releases_lock = False
    is_tried = True
    takes_one_line = True

    function: Callable[[NDArray[Any]], Any] | None = None
    """What is called with each line, or with several."""
    kind: Kind = "auto"
    """What it is given and returns: see above."""
    fields: Any = None
    """Of rows: name to type, or to (type, units); as a text: "x int32; mean float32 W m-2". None: those of the first
    rows, without units. The number of the line, `y`, is added to them."""

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ArgumentError(f"a stage function needs a function of one argument, a line, got {self.function!r}")
        if self.kind not in KINDS:
            raise ArgumentError(f"kind of a function must be one of {', '.join(KINDS)}, got {self.kind!r}")
        self._what = f"function {getattr(self.function, '__qualname__', None) or repr(self.function)[:60]}"
        _check_takes_lines(self.function, self._what)
        self._kind: Kind = self.kind
        self.takes_one_line = self.kind != "block"
        self._shape: tuple[int, int] | None = None
        self._dtype: np.dtype[Any] | None = None
        self._fields: tuple[Field, ...] | None = None
        if self.fields is not None:
            if self.kind in ("line", "block"):
                raise ArgumentError(f"{self._what}: fields= are those of rows, and its kind is {self.kind!r}")
            self._fields = parse_fields(self.fields)
            self._kind, self.fields = "rows", "; ".join(map(str, self._fields))
        if self._kind == "rows" and self._fields is not None:
            self._set_fields(self._fields)

    def __getstate__(self) -> dict[str, Any]:
        """The function as bytes, so that any pickler can take it, and each copy has its own variables; its sources."""
        return self.__dict__ | {"function": self._packed(), "sources": sources_of(self.function)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        sources = state.pop("sources")
        self.__dict__.update(state | {"function": unpack(state["function"])})
        remember(self.function, sources)

    def check(self, source: LineFormat) -> None:  # noqa: ARG002 - part of the protocol
        """StageNotApplicable for a function that cannot go to another process."""
        self._packed()

    def try_on(self, lines: NDArray[Any], source: LineFormat) -> None:  # noqa: ARG002 - part of the protocol
        """Call a copy of it, as workers have it, with each of the lines, and learn kind, sizes and types.

        StageNotApplicable if its results are none, or differ; if it raises for all of the lines, or ends the program.
        """
        function = unpack(self._packed())
        if self._kind == "block":
            self._try_block(function, lines)
            return
        results = self._results(function, lines)
        if self._kind == "auto":
            self._kind = self._kind_of(results[0])
        if self._kind == "line":
            found = [as_line(result, self._what) for result in results]
            self._set_line(found)
            self._check_repeated(_are_alike(found[0], found[-1]))
            return
        names = None if self._fields is None else [field.name for field in self._fields]
        columns = [named_columns(result, names, self._what) for result in results]
        fields = self._fields or fields_of(columns, self._what)
        self._set_fields(fields)
        rows = [self._as_rows(each) for each in columns]
        self._check_repeated(all(_are_alike(rows[0][field.name], rows[-1][field.name]) for field in fields))

    def out_shape(self, source: LineFormat) -> tuple[int, int]:
        """That of its results; of rows: that of the lines, which stay. StageNotApplicable before `try_on`."""
        if self._kind == "rows":
            return source.line_shape
        return self._tried()[0]

    def out_dtype(self, source: LineFormat) -> np.dtype[Any]:
        """That of its results. StageNotApplicable before `try_on`."""
        return source.dtype if self._kind == "rows" else self._tried()[1]

    def out_format(self, source: LineFormat) -> LineFormat:
        """Of unknown quantity and level. The wavelengths are those of the lines if there are as many bands."""
        if self._kind == "rows":
            return source
        labels = {"long_name": f"result of {self._what}"}
        return super().out_format(source).replace(level=None, quantity=None, labels=labels)

    def apply(self, lines: NDArray[Any], out: NDArray[Any]) -> None:
        """Call it, for each line, or for all of them. StageNotApplicable for a result that is none, or another one."""
        if self._kind == "block":
            found = self._as_block(self._called(lines), len(lines))
            self._put(found, out)
            return
        for line, place in zip(lines, out, strict=True):
            self._put(as_line(self._called(line), self._what), place)

    def rows(self, lines: NDArray[Any]) -> Sequence[NDArray[Any]]:
        """Call it for each line. StageNotApplicable for a result that is none, or has other fields."""
        names = [field.name for field in self._fields or ()]
        return [self._as_rows(named_columns(self._called(line), names, self._what)) for line in lines]

    # ---- results ----

    def _called(self, lines: NDArray[Any]) -> Any:
        """With a copy: whatever it does to its argument, the lines of the job stay as they are."""
        return self.function(lines.copy())  # type: ignore[misc] # it is there since it was checked

    def _put(self, found: NDArray[Any], out: NDArray[Any]) -> None:
        if found.shape != out.shape:
            raise StageNotApplicable(
                f"{self._what} returned the shape {found.shape}, and {out.shape} when it was tried"
            )
        out[...] = cast(found, out.dtype, f"{self._what} returned")

    def _as_block(self, result: Any, n_lines: int) -> NDArray[Any]:
        if np.ndim(result) == 0 or len(result) != n_lines:
            shape = "None" if result is None else f"the shape {np.shape(result)}"
            raise StageNotApplicable(
                f"{self._what} returned {shape} for {n_lines} lines, expected a line for each of them"
            )
        return np.stack([as_line(line, self._what) for line in result])

    def _as_rows(self, columns: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        return as_rows(columns, np.dtype(self.row_dtype), self._what)

    # ---- the trial ----

    def _results(self, function: Callable[..., Any], lines: NDArray[Any]) -> list[Any]:
        """The results of all lines for which it does not raise; the last one is that of the first of them again."""
        results: list[Any] = []
        raised, first = None, lines[0]
        for line in lines:
            try:
                result = self._call(function, line)
            except StageNotApplicable:
                raise
            except Exception as error:  # noqa: BLE001 - raised below, if it is so for all lines
                raised = error
                continue
            first = first if results else line
            results.append(_kept(result))
        if not results:
            raise StageNotApplicable(
                f"{self._what} raised {type(raised).__name__}: {raised}, when it was called with a line of the shape "
                f"{lines.shape[1:]} of {lines.dtype}; if it expects several lines, say kind='block'"
            ) from raised
        with suppress(Exception):  # it is what it was: that it raises is seen when it is so for a line of the job
            return [*results, _kept(self._call(function, first))]
        return [*results, results[0]]

    def _call(self, function: Callable[..., Any], argument: NDArray[Any]) -> Any:
        try:
            with logged_prints():
                return function(argument.copy())
        except SystemExit as error:
            raise StageNotApplicable(
                f"{self._what} calls sys.exit({error.code!r}): expected a result for each line; raise an exception for "
                "a line that has none"
            ) from error

    def _try_block(self, function: Callable[..., Any], lines: NDArray[Any]) -> None:
        try:
            together = self._as_block(self._call(function, lines), len(lines))
            alone = [self._as_block(self._call(function, line[np.newaxis]), 1)[0] for line in lines]
        except StageNotApplicable:
            raise
        except Exception as error:
            raise StageNotApplicable(
                f"{self._what} raised {type(error).__name__}: {error}, when it was called with lines of the shape "
                f"{lines.shape} of {lines.dtype}"
            ) from error
        self._set_line(alone)
        for line, other in zip(together, alone, strict=True):
            if not _are_alike(line, other):
                raise StageNotApplicable(
                    f"{self._what} returned something else for a line alone than for the same one with others, so that "
                    "its result would depend on the size of blocks: expected one that treats each line by itself; a "
                    "stage with `halo` or a survey is for the others"
                )

    def _check_repeated(self, is_alike: bool) -> None:
        """Refuse one that keeps something from call to call, or is random: the id of the job would not say enough."""
        if not is_alike:
            raise StageNotApplicable(
                f"{self._what} returned something else for the same line at a second call, so that its result would "
                "depend on which worker gets which lines: expected one that keeps nothing from line to line (a stage "
                "with `halo` or a survey is for that), and random numbers with a seed for each line"
            )

    def _kind_of(self, result: Any) -> Kind:
        """Lists and tuples of numbers, and tables of other packages, could be either."""
        if is_rows(result):
            return "rows"
        if getattr(result, "dtype", None) is None:
            got = "None" if result is None else f"{type(result).__name__} {result!r:.60}"
            raise StageNotApplicable(
                f"{self._what} returned {got}, expected an array (cross-track, wavelength) or (cross-track,), or rows: "
                "mappings such as {'x': 3, 'mean': 0.5}, [] if a line has none; tuples with fields= given"
            )
        return "line"

    def _set_line(self, lines: list[NDArray[Any]]) -> None:
        kinds = {(line.shape, line.dtype) for line in lines}
        if len(kinds) > 1:
            found = " and ".join(sorted(f"{dtype} of the shape {shape}" for shape, dtype in kinds))
            raise StageNotApplicable(f"{self._what} returned {found} for different lines, expected the same each time")
        self._shape, self._dtype = lines[0].shape, lines[0].dtype

    def _set_fields(self, fields: tuple[Field, ...]) -> None:
        self._fields = fields
        self.row_dtype = np.dtype([(field.name, field.dtype) for field in fields])
        self.row_units = {field.name: field.units for field in fields if field.units}

    def _tried(self) -> tuple[tuple[int, int], np.dtype[Any]]:
        if self._shape is None or self._dtype is None:
            raise StageNotApplicable(
                f"{self._what}: what it returns is unknown before it is tried on a line (`try_on`)"
            )
        return self._shape, self._dtype

    def _packed(self) -> bytes:
        try:
            packed = pack(self.function)
            unpack(packed)
        except Exception as error:
            cause = error.__cause__ if isinstance(error, OpenHSIError) and error.__cause__ is not None else error
            raise StageNotApplicable(
                f"{self._what} cannot go to another process: {type(cause).__name__}: {cause}; open files, locks and "
                "cameras must be made within the function"
            ) from error
        return packed


def _kept(result: Any) -> Any:
    return list(result) if isinstance(result, Iterator) else result


def _are_alike(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """But for rounding."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-4, atol=1e-30, equal_nan=True)


def _check_takes_lines(function: Callable[..., Any], what: str) -> None:
    if inspect.iscoroutinefunction(function):
        raise ArgumentError(f"{what} is a coroutine, expected a function that returns its result")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # of C code: it is seen when it is tried
    try:
        signature.bind(None)
    except TypeError as error:
        raise ArgumentError(f"{what}{signature} must be callable with one argument, a line: {error}") from error
