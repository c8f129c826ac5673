"""Cubes as they are stored in slots, with the provenance that their files contain."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openhsi_shared.buffers.slot_memory import SlotState, Word
from openhsi_shared.buffers.slot_view import SlotView
from openhsi_shared.buffers.times import CubeTimes, read_anchor
from openhsi_shared.channels.host_clock import host_clock
from openhsi_shared.columns import SATURATED, Column, Saturation
from openhsi_shared.dataset import Cube
from openhsi_shared.files.published import CubeOnDisk
from openhsi_shared.frames.losses import gaps_between, merged, ranges_in_words
from openhsi_shared.groups import Group
from openhsi_shared.line_times import begin_of
from openhsi_shared.writer.cube_marks import marks_of
from openhsi_shared.writer.cube_references import references_of_cube
from openhsi_shared.writer.messages import CubeKind, Label
from openhsi_shared.writer.rescue_directory import directories_of

if TYPE_CHECKING:
    from openhsi_shared.writer.cube_channels import CubeChannels

__all__ = ["cube_in", "cube_on_disk", "slots_to_rescue", "unchecked", "with_channels"]


def cube_in(
    slots: SlotView, kind: CubeKind, slot: int, label: Label, recovered: bool, unchecked: Sequence[str] = ()
) -> Cube:
    """The cube in `slot`, without channels; its lines are a view. `recovered`: the process that collected it has died;
    `unchecked`: directories in which it may be saved already, but that do not respond.
    """
    first, n = slots.extent(slot)
    columns = {column.name: slots.column(slot, column.name) for column in slots.layout.columns}
    times = slots.times(slot)
    groups: dict[str, Group] = {}
    more, left_out = dict[str, Any](), tuple[str, ...]()
    described: Sequence[Column] = ()
    about: Mapping[str, Any] = {}
    if kind.groups_from:
        from openhsi_shared.files.carrying import carried_from

        groups, more, described, left_out = carried_from(Path(kind.groups_from), n, slots.layout.line_shape)
    saturation = kind.saturation if isinstance(kind.saturation, Saturation) else None
    if isinstance(kind.saturation, str) and kind.saturation and SATURATED.name not in {*columns, *more}:
        about = {**about, "saturated_unknown": kind.saturation}
    if label.references:
        taken, about_them = references_of_cube(
            label.references,
            slots.layout.line_shape,
            columns["time_ns"],
            columns["temperature"],
            kind.options.embed_references,
        )
        groups = groups | ({"references": Group(groups=taken)} if taken else {})
        about = {**about, **about_them}
    clock = host_clock()
    return Cube(
        memory=slots.lines(slot),
        first=first,
        n_lines=n,
        columns=columns | more,
        column_descriptions=(*slots.layout.columns, *described),
        groups=groups,
        wavelengths_nm=kind.wavelengths_nm,
        level=kind.level,
        metadata=label.metadata,
        attributes={
            **label.attributes,
            **_provenance(slots, kind, slot, n),
            **_clock_attributes(times, begin_of(columns["time_ns"])),
            **clock.attributes,
            "clock_source": f"this computer, {clock.attributes['host_clock']}",
            **marks_of(slots, slot, columns["time_ns"]),
            **about,
            **({"source_groups_left_out": ", ".join(left_out)} if left_out else {}),
            **({"unchecked_directories": list(unchecked)} if unchecked else {}),
            "recovered": int(recovered or label.attributes.get("recovered", 0)),
        },
        uuid=kind.uuid_of(slots.word(slot, Word.CUBE)),
        saturation=saturation,
    )


def with_channels(
    cube: Cube, slots: SlotView, kind: CubeKind, slot: int, label: Label, channels: "CubeChannels | None"
) -> Cube:
    """The same cube with `channels`, and those that are replayed, matched to its lines. Never raises for a channel."""
    parts = []
    if channels is not None:
        exposure_ms, anchor = label.attributes.get("exposure_ms"), slots.times(slot).anchor
        number, times_ns = slots.word(slot, Word.CUBE), cube.columns["time_ns"]
        parts.append(channels.of_cube(number, times_ns, anchor, exposure_ms, taken=tuple(cube.columns)))
    if kind.replayed_from:
        from openhsi_shared.writer.replayed_channels import ReplayedChannels

        taken = {*cube.columns}.union(*(part.columns for part in parts))
        times_ns, recorded_ns = cube.columns["time_ns"], cube.columns["camera_time_ns"]
        parts.append(ReplayedChannels.at(kind.replayed_from).of_cube(times_ns, recorded_ns, taken=taken))
    for part in parts:
        in_both = [one["channels"].groups for one in (part.groups, cube.groups) if "channels" in one]
        groups = {**part.groups, **cube.groups}
        if len(in_both) == 2:
            groups["channels"] = Group(groups={**in_both[0], **in_both[1]})
        cube = replace(
            cube,
            columns={**cube.columns, **part.columns},
            column_descriptions=(*cube.column_descriptions, *part.descriptions),
            groups=groups,
            attributes={**cube.attributes, **part.attributes},
        )
    return cube


def _provenance(slots: SlotView, kind: CubeKind, slot: int, n_lines: int) -> dict[str, Any]:
    expected, n_lost = slots.word(slot, Word.EXPECTED_ID), slots.word(slot, Word.N_LOST)
    n_overwritten = slots.word(slot, Word.N_PUT) - n_lines
    frame_ids = slots.frame_ids(slot)
    within = int(frame_ids[-1] - frame_ids[0] + 1 - len(frame_ids))
    # if the cube has wrapped around, ids before the oldest line left are of overwritten and of lost lines, mixed
    gaps = gaps_between(int(frame_ids[0]) if n_overwritten else expected, frame_ids.tolist())
    discarded = slots.discarded_before(slot)
    return {
        "run_id": kind.run_id,
        "camera": kind.camera,
        "cube_number": slots.word(slot, Word.CUBE),
        "lines_lost": discarded.n_lost + n_lost,
        "lines_lost_before": discarded.n_lost + n_lost - within,
        "lines_lost_within": within,
        "lost_frame_ids": ranges_in_words(merged([*discarded.ranges, *gaps])),
        "lines_overwritten": n_overwritten,
    }


def _clock_attributes(times: CubeTimes, first_ns: int | None) -> dict[str, Any]:
    step = read_anchor().since(times.anchor)
    return {
        "clock_anchor_wall_ns": times.anchor.wall_ns,
        "clock_anchor_monotonic_ns": times.anchor.monotonic_ns,
        "clock_step_before_ns": times.step.total_ns,
        "clock_suspended_before_ns": times.step.suspended_ns,
        "clock_step_ns": step.total_ns,
        "clock_suspended_ns": step.suspended_ns,
        "time_overlap_ns": 0 if first_ns is None else max(0, times.earlier_until_ns - first_ns),
    }


def slots_to_rescue(slots: SlotView) -> list[int]:
    """Slots with unsaved lines, oldest cube first; for a process that saves all that are left."""
    states = (SlotState.FILLING, SlotState.FULL, SlotState.SAVING, SlotState.HELD)
    return [slot for slot in slots.slots_in(*states) if slots.extent(slot)[1] and not slots.is_discarded(slot)]


def unchecked(slots: SlotView, kind: CubeKind, slot: int, label: Label, avoid: Collection[str]) -> list[str]:
    """Directories to avoid in which an earlier try may have saved the cube in `slot`; none before its first try."""
    was_tried = slots.state(slot) in (SlotState.SAVING, SlotState.HELD)
    return [place for place in directories_of(label, kind) if place in avoid] if was_tried else []


def cube_on_disk(slots: SlotView, kind: CubeKind, slot: int, label: Label, directories: Sequence[Path]) -> CubeOnDisk:
    """What the disk has of the cube in `slot`, in these directories."""
    return CubeOnDisk(
        uuid=kind.uuid_of(slots.word(slot, Word.CUBE)),
        time_ns=begin_of(slots.column(slot, "time_ns")),
        prefix=label.prefix,
        suffix=label.suffix,
        directories=directories,
        durability=kind.options.durability,
    )
