"""The raw series of a channel in a file: the group `/channels/<name>`, written and read again.

It has what is needed to match the channel again: all samples since the file before, the properties of the channel as
attributes, and the states of its source.
"""

import json
from collections.abc import Mapping
from dataclasses import fields as fields_of
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from openhsi_shared.buffers.samples import Counts, Samples
from openhsi_shared.buffers.times import Anchor
from openhsi_shared.channels.properties import DIMENSIONS, ChannelProperties, Field
from openhsi_shared.channels.units import circle_in, known_unit
from openhsi_shared.dataset import time_variable
from openhsi_shared.errors import FileError
from openhsi_shared.files.open_group import OpenGroup
from openhsi_shared.groups import Group, Variable
from openhsi_shared.matching.states import State

__all__ = ["CHANNELS", "RawSeries", "described", "labels_of", "part_of", "raw_group", "raw_series"]

CHANNELS = "channels"
"""The group that has a group for each channel."""
SAMPLE = "sample"
"""The dimension of all variables of the group."""
STORED = tuple(item.name for item in fields_of(ChannelProperties) if item.name not in ("name", "fields"))
"""Properties of the channel that are attributes of the group; those that are None are absent."""
LONG_NAMES = {
    "time": "time of the sample by the clock of its source (UTC)",
    "arrival": "time of arrival by the clock of the lines (UTC)",
    "id": "id that the source gave the sample, -1: none",
    "quality": "quality that the source gave the sample",
}


class RawSeries(NamedTuple):
    """A channel as it is stored in a file."""

    properties: ChannelProperties
    samples: Samples
    """With times of arrival by the clock of the lines of this file."""


def described(properties: ChannelProperties, description: Mapping[str, Any]) -> ChannelProperties:
    """The properties, with what the source has described: unit and flags, where the user gave none, and standard names.

    As `Deliver.describe` takes them: unit="mm", flags=["closed", "open"], standard_names={field: name}.
    """
    unit, flags, names = (description.get(key) for key in ("unit", "flags", "standard_names"))
    found = []
    for field in properties.fields:
        if isinstance(unit, str) and unit and field.unit is None and field.unit_as_given is None:
            known = known_unit(unit)
            if field.kind == "angle" and circle_in(known or unit) is None:
                known = None  # an angle is in degrees, whatever an IOC says
            field = replace(field, unit=known, unit_as_given=unit if known is None else None)  # noqa: PLW2901
        if isinstance(flags, list) and flags and not field.flags:
            how = field.how if field.how in ("previous", "nearest") else "previous"
            field = replace(field, kind="flags", how=how, flags=tuple(map(str, flags)))  # noqa: PLW2901
        if isinstance(names, dict) and isinstance(names.get(field.name), str):
            field = replace(field, standard_name=names[field.name])  # noqa: PLW2901
        found.append(field)
    return replace(properties, fields=tuple(found))


def raw_group(
    properties: ChannelProperties, samples: Samples, attributes: Mapping[str, Any], to_lines_ns: int = 0
) -> Group:
    """The group of a channel; `to_lines_ns` is added to times of arrival, which are then by the clock of the lines."""
    arrival = samples.arrival_ns + to_lines_ns
    variables = {
        "time": time_variable(samples.time_ns, SAMPLE),
        "arrival": time_variable(arrival, SAMPLE),
        "id": Variable((SAMPLE,), samples.id),
        "quality": Variable((SAMPLE,), samples.quality),
    }
    for name, long_name in LONG_NAMES.items():
        variables[name] = variables[name]._replace(attributes={**variables[name].attributes, "long_name": long_name})
    for column, field in enumerate(properties.fields):
        values = np.ascontiguousarray(samples.values[:, column])
        labels = labels_of(properties, field) | {"field": field.name, "coordinates": "time"}
        variables[variable_of(properties, field)] = Variable((SAMPLE,), values, labels)
    states = [[time_ns + to_lines_ns, state.name.lower()] for time_ns, state in samples.states]
    stored = {name: getattr(properties, name) for name in STORED}
    stored |= {"unit": properties.fields[0].unit, "how": properties.fields[0].how} if properties.is_single else {}
    stored |= {name: int(value) for name, value in stored.items() if isinstance(value, bool)}
    return Group(
        variables,
        {
            **{name: value for name, value in stored.items() if value is not None},
            "first_sample": samples.first_index,
            **attributes,
            "states": json.dumps(states),
            "description": json.dumps(dict(samples.description)),
        },
    )


def variable_of(properties: ChannelProperties, field: Field) -> str:
    """Name of the variable of a field in the raw series: a dimension of the whole file cannot be one."""
    return f"{properties.name}_{field.name}" if field.name in DIMENSIONS else field.name


def labels_of(properties: ChannelProperties, field: Field) -> dict[str, Any]:
    """Attributes of the variable of a field."""
    name = properties.name if properties.is_single else f"{properties.name} {field.name}"
    labels: dict[str, Any] = {"long_name": name, "units": field.unit, "standard_name": field.standard_name}
    labels |= {"unit_as_given": field.unit_as_given, "how": field.how, "kind": field.kind}
    if field.flags:
        labels["flag_values"] = np.arange(len(field.flags), dtype=np.float64)
        labels["flag_meanings"] = " ".join("_".join(meaning.split()) or "-" for meaning in field.flags)
    return {name: value for name, value in labels.items() if value is not None}


def raw_series(name: str, group: OpenGroup, anchor: Anchor) -> RawSeries:
    """Read the group of channel `name` of a file whose lines have the clock `anchor`. FileError if it is none."""
    try:
        variables, attributes = dict(group.variables), group.attributes
        numbers = {key: variables.pop(key).data for key in LONG_NAMES}
        properties = _properties(name, variables, attributes)
        states = [(int(time_ns), State[state.upper()]) for time_ns, state in json.loads(attributes["states"])]
        values = np.column_stack([variable.data for variable in variables.values()])
        totals = (int(attributes[f"n_{what}_total"]) for what in Counts._fields)
        samples = Samples(
            **{f"{key}_ns" if key in ("time", "arrival") else key: numbers[key] for key in LONG_NAMES},
            values=values.astype(np.float64),
            first_index=int(attributes["first_sample"]),
            counts=Counts(*totals),
            states=tuple(states),
            description=json.loads(attributes["description"]),
            anchor=anchor,
        )
    except (LookupError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise FileError(f"group {group.path} is not the raw series of a channel: {what}") from error
    return RawSeries(properties, samples)


def _properties(name: str, variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> ChannelProperties:
    fields = []
    for _, _, labels in variables.values():
        flags = str(labels.get("flag_meanings", "")).split()
        known = {key: labels[key] for key in ("how", "kind", "standard_name", "unit_as_given") if key in labels}
        fields.append(Field(labels["field"], unit=labels.get("units"), flags=tuple(flags), **known))
    stored = {key: attributes[key] for key in STORED if key in attributes}
    stored |= {key: bool(stored[key]) for key in ("required", "speaks_on_change") if key in stored}
    return ChannelProperties(name=name, fields=tuple(fields), **stored)


def part_of(samples: Samples, begin: int, end: int | None = None) -> Samples:
    """The samples with the indices `begin` to `end` of the ring, the first at least the oldest that is left."""
    part = slice(max(0, begin - samples.first_index), None if end is None else max(0, end - samples.first_index))
    columns: dict[str, Any] = {
        name: getattr(samples, name)[part] for name in ("time_ns", "arrival_ns", "id", "quality", "values")
    }
    return replace(samples, **columns, first_index=samples.first_index + part.start)
