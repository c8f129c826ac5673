"""What goes from the source to the result of a job besides the pixels: columns, groups, wavelengths, attributes.

A line of the result is made of one line of the source, or with `bin_lines` of several. What it has then:

======================  ================================================================================================
times                   `time` and `camera_time_ns`: mean of the known ones of these lines
`temperature`           mean of the known ones
other values            those of the middle line (of an even number, the earlier one of the two): frame ids, columns of
                        channels, and variables of groups along `y`; no mean, which is wrong of angles, ids and flags
`line_flag`             the worst of the result and of these lines
======================  ================================================================================================

Groups with variables along `x` or `wavelength` travel if the result has as many pixels or bands, and `detections` of an
earlier job if the result has the same lines, else they are named in `source_groups_left_out`. Attributes of the
recording become `source_NAME`, those of the user are copied.
"""

import json
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.attributes import json_value
from openhsi_shared.columns import COLUMNS, FRAMES_USED, SATURATED, Column
from openhsi_shared.dataset import CUSTOM, Cube, datacube_attributes
from openhsi_shared.files.carrying import DETECTIONS, HIDDEN_BY_DETECTIONS, Carried, carried_of
from openhsi_shared.files.linked import Link
from openhsi_shared.files.packing import PACKING_ATTRIBUTES
from openhsi_shared.files.reading import OpenCube, open_cube
from openhsi_shared.files.recorded import LINE_FLAG, LINE_FLAG_MEANINGS, line_flags_of
from openhsi_shared.files.source_attributes import kept_attributes, source_attributes
from openhsi_shared.groups import Group, Variable
from openhsi_shared.jobs.line_flag import LineFlag
from openhsi_shared.jobs.outputs.output import Done
from openhsi_shared.jobs.plan import CubePlan
from openhsi_shared.line_times import UNKNOWN_TIME_NS
from openhsi_shared.loggers import safe_logger

__all__ = ["Travelling"]

logger = safe_logger(__name__)

FLAGS = Column(
    LINE_FLAG,
    "uint8",
    "1",
    "state of the line",
    {
        "standard_name": "status_flag",
        "flag_values": [int(flag) for flag in LineFlag],
        "flag_meanings": LINE_FLAG_MEANINGS,
    },
)
NOT_LABELS = {
    *("description", "coordinates", "ancillary_variables", "grid_mapping", "cell_methods", "cell_measures", "bounds"),
    *(
        "significant_bits",
        "rounding",
        "values_crc32",
        "attributes_crc32",
        "CLASS",
        "NAME",
        "DIMENSION_LIST",
        "REFERENCE_LIST",
    ),
    *PACKING_ATTRIBUTES,
    "dtype",  # of booleans, as xarray stores them
}
"""Attributes of the datacube of the source that are not true, or not needed, in the result."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Travelling:
    """What travels; read once, when the output is opened. `cube` adds what is known at the end."""

    plan: CubePlan
    columns: dict[str, NDArray[Any]]
    descriptions: tuple[Column, ...]
    groups: dict[str, Group]
    left_out: tuple[str, ...]
    flags_before: NDArray[np.uint8]
    """`line_flag` of the source, if it has it: that of a line that failed in an earlier job."""
    labels: dict[str, Any]
    """Attributes of the datacube, besides those of its level."""
    level: int | None
    arithmetic: str | None
    link: dict[str, Any]
    """The attribute that refers to the source."""

    @classmethod
    def read(
        cls, plan: CubePlan, labels: dict[str, Any] | None = None, *, has_groups: bool = True, is_linked: bool = False
    ) -> Self:
        """Read it from the source. ArgumentError for what a file cannot store; FileError.

        `labels`: further attributes of the datacube. `has_groups`: groups of the source travel. `is_linked`: the result
        refers to its source, and contains only what cannot be read from there.
        """
        made_of, n_lines = MadeOf(plan), plan.result.n_lines
        with open_cube(plan.source.path) as cube:
            columns = _columns(cube, made_of)
            carried = carried_of(cube, n_lines, plan.result.line_shape, made_of.middle)
            if not has_groups:
                carried = carried._replace(groups={}, left_out=())
            link: dict[str, Any] = {}
            if made_of.n_together > 1 and (shares := cube.saturated) is not None:
                carried.columns[SATURATED.name] = made_of.mean(shares, np.isfinite(shares), np.nan)
            if is_linked:
                link = dict(Link.to(cube, plan.target, made_of.lines).attributes)
                columns, carried = _not_linked(plan, made_of, columns, carried)
            flags = np.zeros(n_lines, np.uint8)
            if made_of.n_together > 1:  # a line is made of more frames than that of the middle
                carried.columns.pop(FRAMES_USED.name, None)
            if (earlier := line_flags_of(cube)) is not None:
                flags = made_of.worst(earlier)
            of_another = _flags_of_another_program(cube)
            carried.columns.pop(LINE_FLAG, None)  # the result has its own
        level, arithmetic = _level(plan)
        of_result = {} if level is not None else _labels(plan)
        left_out = [*dict.fromkeys((*carried.left_out, *of_another))]
        if plan.stages and DETECTIONS in carried.groups:  # rows of what the lines were
            del carried.groups[DETECTIONS]
            left_out.append(DETECTIONS)
        made = cls(
            plan=plan,
            columns=columns | carried.columns,
            descriptions=tuple(one for one in carried.descriptions if one.name in carried.columns),
            groups=carried.groups,
            left_out=tuple(left_out),
            flags_before=flags,
            labels={**of_result, "ancillary_variables": f"line_crc32 {LINE_FLAG}", **(labels or {})},
            level=level,
            arithmetic=arithmetic,
            link=link,
        )
        made.cube(Done(line_flag=np.zeros(n_lines, np.uint8), rows=no_rows(plan)))  # raises for what cannot be stored
        return made

    def cube(self, done: Done, uuid: str = "0") -> Cube:
        """All metadata of the result; its `memory` has no pixels."""
        result = self.plan.result
        flags = np.maximum(self.flags_before, done.line_flag)
        groups = self.groups | ({} if done.rows is None else {DETECTIONS: self.detections(done.rows)})
        return Cube(
            memory=np.broadcast_to(np.zeros((), result.dtype), (result.n_lines, *result.line_shape)),
            n_lines=result.n_lines,
            columns=self.columns | {LINE_FLAG: flags},
            column_descriptions=(*COLUMNS, FLAGS, *self.descriptions),
            groups=groups,
            wavelengths_nm=result.wavelengths_nm,
            level=self.level,
            attributes=self.attributes() | done.attributes,
            metadata=kept_attributes(self.plan.source.attributes, is_ours=self.plan.source.is_ours),
            uuid=uuid,
        )

    def attributes(self) -> dict[str, Any]:
        """Attributes of the result from the source, and about what was done with it."""
        plan, source = self.plan, self.plan.source
        settings = source.settings
        made_of = MadeOf(plan)
        lines = {"first": plan.lines.start, "stop": plan.lines.stop, "lines_per_result": made_of.n_together}
        found: dict[str, Any] = {
            **source_attributes(source.path, source.attributes, is_ours=source.is_ours),
            **self.link,
            "source_lines": json.dumps(lines),
            "settings": json.dumps(settings.model_dump(), default=json_value),
            "exposure_ms": settings.exposure_ms if source.exposure_is_known else None,
            "camera_id": str(settings.camera_id),
            "level_arithmetic": self.arithmetic,
            "calibration_sha256": source.calibration.sha256 or None,
            "source_groups_left_out": json.dumps(self.left_out) if self.left_out else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def detections(self, rows: NDArray[Any]) -> Group:
        """Rows of a table as variables along a dimension of their own."""
        units = getattr(self.plan.stages[-1], "row_units", {}) if self.plan.stages else {}
        variables = {}
        for name in rows.dtype.names or ():
            labels = {"long_name": name} | ({"units": units[name]} if name in units else {})
            if name == "y":
                labels = {"long_name": "line of the cube, counted from 0", "units": "1"}
            values = np.ascontiguousarray(rows[name])
            dims = (DETECTIONS, *(f"{name}_{axis}" for axis in range(1, values.ndim)))
            values = values.astype(np.uint8) if values.dtype.kind == "b" else values
            variables[name] = Variable(dims, values, labels)
        return Group(
            variables,
            {"comment": "rows that the lines gave, in their order"},
            hides=HIDDEN_BY_DETECTIONS,
        )


def no_rows(plan: CubePlan) -> NDArray[Any] | None:
    """No rows of the type that the job gives; None if it gives none."""
    if plan.row_dtype is None:
        return None
    fields = [(name, plan.row_dtype[name]) for name in plan.row_dtype.names or ()]
    return np.zeros(0, [("y", np.int64), *fields])


class MadeOf:
    """Of which lines of the source each line of the result is made."""

    def __init__(self, plan: CubePlan) -> None:
        self.n_together = int(np.prod([stage.lines_per_result for stage in plan.stages], dtype=np.int64))
        n = plan.result.n_lines
        self.first = plan.lines.start + np.arange(n) * self.n_together
        self.stop = np.minimum(self.first + self.n_together, plan.lines.stop)
        self.middle: NDArray[np.intp] = self.first + (self.stop - self.first - 1) // 2

    @property
    def lines(self) -> range:
        """The lines of the source that those of the result are, one for one; none if several make one."""
        return range(int(self.first[0]), int(self.stop[-1])) if self.n_together == 1 else range(0)

    def mean(self, values: NDArray[Any], is_known: NDArray[np.bool_], unknown: Any) -> NDArray[Any]:
        """Mean of the known values of the lines of each line; `unknown` where there are none. Exact for times in ns."""
        if self.n_together == 1:
            return values[self.first]
        found = np.full(len(self.first), unknown, values.dtype)
        for number, (first, stop) in enumerate(zip(self.first, self.stop, strict=True)):
            known = values[first:stop][is_known[first:stop]]
            if len(known):
                begin = known[0]
                found[number] = begin + np.mean(known - begin).astype(values.dtype)
        return found

    def worst(self, flags: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The largest of the values of the lines of each line."""
        return np.maximum.reduceat(flags[: self.stop[-1]], self.first)


def _columns(cube: OpenCube, made_of: MadeOf) -> dict[str, NDArray[Any]]:
    """Columns that all cubes have, of the lines of the result."""
    times = cube.times_ns
    if times is None:
        times = np.full(len(cube.lines), UNKNOWN_TIME_NS, np.int64)
    columns = {"time_ns": made_of.mean(times, times != UNKNOWN_TIME_NS, UNKNOWN_TIME_NS)}
    if (ids := cube.frame_ids) is not None:
        columns["frame_id"] = ids[made_of.middle]
    if (camera_times := cube.camera_times_ns) is not None:
        is_known = camera_times <= np.iinfo(np.int64).max  # of other programs, which may count to 2**64
        camera_times = np.where(is_known, camera_times.astype(np.int64), -1)
        columns["camera_time_ns"] = made_of.mean(camera_times, camera_times != -1, -1)
    if (temperatures := cube.temperatures) is not None:
        temperatures = temperatures.astype(np.result_type(temperatures.dtype, np.float32), copy=False)
        columns["temperature"] = made_of.mean(temperatures, np.isfinite(temperatures), np.nan)
    return columns


def _not_linked(
    plan: CubePlan, made_of: MadeOf, columns: dict[str, NDArray[Any]], carried: Carried
) -> tuple[dict[str, NDArray[Any]], Carried]:
    """What a reader of the result does not find in its source: times, which each file has, and what differs there."""
    if made_of.n_together > 1:
        return columns, carried
    carried = carried._replace(columns={}, descriptions=())
    if len(made_of.lines) == plan.source.n_lines:
        carried = carried._replace(groups={})
    return {"time_ns": columns["time_ns"]}, carried


def _flags_of_another_program(cube: OpenCube) -> list[str]:
    """The name of the flags, with a warning, if those of the source mean something else than those of a job."""
    if not cube.contents.has(LINE_FLAG):
        return []
    meanings = cube.contents.attributes(LINE_FLAG).get("flag_meanings")
    if meanings == LINE_FLAG_MEANINGS:
        return []
    logger.warning(
        "%s of %s is left out: it has the name of a column of this library, but its flag_meanings are %r, not %r",
        LINE_FLAG,
        cube.path,
        meanings,
        LINE_FLAG_MEANINGS,
    )
    return [LINE_FLAG]


def _level(plan: CubePlan) -> tuple[int | None, str | None]:
    """Level of the result, and who computed it; no level where units are not those of the level."""
    result, source = plan.result, plan.source
    arithmetic = None
    if source.is_ours and "level_arithmetic" in source.attributes:
        arithmetic = str(source.attributes["level_arithmetic"])
    for stage in plan.stages:
        if stage.code == "level":
            arithmetic = getattr(stage, "compat", None) or "openhsi_shared"
    if result.level is None:
        return None, None
    expected = datacube_attributes(result.level, arithmetic=arithmetic)
    if result.labels.get("units", expected["units"]) != expected["units"]:
        return None, CUSTOM if arithmetic == CUSTOM else None
    return result.level, arithmetic


def _labels(plan: CubePlan) -> dict[str, Any]:
    """Attributes of the datacube of a result without a level."""
    found = {
        name: value
        for name, value in plan.result.labels.items()
        if name not in NOT_LABELS and not name.startswith("_") and value is not None
    }
    return {"long_name": "result of a job"} | found
