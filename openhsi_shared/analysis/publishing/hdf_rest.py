"""The HDF-REST dialect of h5pyd 0.24 and 1.0: what is published, as answers to its requests.

Protocol: HDF REST API of HSDS (https://github.com/HDFGroup/hdf-rest-api), as far as readers use it. A dataset is named
by an id of its path, type and shape, so that a client which knows an older shape reads that much of it, or is told that
it has vanished, and never takes bytes for what they are not. No state is needed: ids can be found again.
"""

import json
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid5

import numpy as np
from numpy.lib.recfunctions import repack_fields
from numpy.typing import NDArray

from openhsi_shared.analysis.publishing.published import ReadPublish, held
from openhsi_shared.analysis.publishing.selections import selected
from openhsi_shared.analysis.publishing.tree import Member, array_of, attributes_of, find, members
from openhsi_shared.near_names import nearest_or_all

__all__ = ["HdfTree"]

IDS = UUID("0d5e8f5e-33a6-4d0c-8f0b-6f4c0d3c9a41")
"""Ids are made from it (UUID5)."""
MAX_LISTED = 10_000
"""Members of a group that are listed; others are found by their name."""
MAX_KNOWN = 100_000
"""Ids whose path is remembered; others are searched for."""
HSDS_VERSION = "0.9.1"
"""Of the protocol; h5pyd asks for it."""

Json = dict[str, Any]


class _Known(NamedTuple):
    """What an id means."""

    path: tuple[str, ...]
    dtype: np.dtype[Any] | None = None
    """None for a group."""
    shape: tuple[int, ...] = ()


class HdfTree:
    """Answers requests, of several threads too. Holds the lock no longer than it takes to copy what is asked for."""

    def __init__(self, published: ReadPublish) -> None:
        self._published = published
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._knowing = threading.Lock()
        self._started = time.time()

    def answer(
        self, parts: Sequence[str], query: Mapping[str, str], body: bytes | None, is_binary: bool
    ) -> Json | bytes:
        """Answer a GET, or a POST with a body, for a path of these parts: JSON, or the bytes of an array.

        KeyError for what is not there (any more), ValueError for a selection that does not fit, AnalysisError if the
        reducer does not release its lock.
        """
        if list(parts) == ["about"]:
            return self._about()
        found: Json | bytes
        with held(self._published.lock):
            match list(parts):
                case []:
                    found = {"root": self._id_of_group(()), "class": "domain", "owner": "", **self._times()}
                case ["groups", name]:
                    found = self._group(name, query)
                case ["groups", name, "links"]:
                    found = {"links": list(self._links(name).values())}
                case ["groups", name, "links", title]:
                    found = {"link": self._link(name, title)}
                case ["datasets", name]:
                    found = self._dataset(name, query)
                case ["datasets", name, "shape" | "type" as what]:
                    found = {what: self._dataset(name, {})[what], **self._times()}
                case ["datasets", name, "value"]:
                    found = self._value(name, query, body, is_binary)
                case ["groups" | "datasets", name, "attributes"]:
                    attributes = self._attributes(self._find(name)[0], _is_set(query, "IncludeData"))
                    found = {"attributes": list(attributes.values())}
                case ["groups" | "datasets", name, "attributes", title]:
                    found = self._attribute(name, title)
                case _:
                    raise KeyError(f"/{'/'.join(parts)} is not known here")
        return found

    # ---- groups ----

    def _about(self) -> Json:
        return {
            "name": "openhsi_shared",
            "about": "What the reducer of an analysis publishes, read-only",
            "greeting": "",
            "state": "READY",
            "hsds_version": HSDS_VERSION,
            "start_time": int(self._started),
            "node_count": 1,
        }

    def _times(self) -> Json:
        return {"created": self._started, "lastModified": time.time()}

    def _group(self, name: str, query: Mapping[str, str]) -> Json:
        member, known = self._find(name)
        links = self._links(name)
        found: Json = {
            "id": name,
            "root": self._id_of_group(()),
            "linkCount": len(links),
            "attributeCount": len(attributes_of(member)[0]),
            "domain": "/",
            "alias": ["/" + "/".join(known.path)],
            **self._times(),
        }
        if _is_set(query, "include_links"):
            found["links"] = links
        return {**found, **self._included_attributes(member, query)}

    def _links(self, name: str) -> dict[str, Json]:
        member, known = self._find(name)
        links = {}
        for title, one in members(member.value, at_most=MAX_LISTED)[0].items():
            try:
                links[title] = self._link_to((*known.path, title), one)
            except TypeError:  # it cannot be published, as snapshots and the file of the result tell
                continue
        return links

    def _link(self, name: str, title: str) -> Json:
        known = self._find(name)[1]
        path = (*known.path, title)
        try:
            return self._link_to(path, find(self._published.publish, path))
        except TypeError as error:
            raise KeyError(f"{title} is not published: {error}") from error

    def _link_to(self, path: tuple[str, ...], member: Member) -> Json:
        collection = "groups" if member.is_group else "datasets"
        name = self._id_of_group(path) if member.is_group else self._id_of_dataset(path, array_of(member.value))
        return {"class": "H5L_TYPE_HARD", "collection": collection, "id": name, "title": path[-1], **self._times()}

    # ---- datasets ----

    def _dataset(self, name: str, query: Mapping[str, str]) -> Json:
        member, known = self._find(name)
        array = self._array(member, known)
        return {
            "id": name,
            "root": self._id_of_group(()),
            "attributeCount": len(attributes_of(member)[0]),
            "shape": _shape(array),
            "type": _type(array.dtype),
            "layout": {"class": "H5D_CONTIGUOUS"},
            "creationProperties": {"layout": {"class": "H5D_CONTIGUOUS"}},
            "domain": "/",
            **self._times(),
            **self._included_attributes(member, query),
        }

    def _value(self, name: str, query: Mapping[str, str], body: bytes | None, is_binary: bool) -> Json | bytes:
        member, known = self._find(name)
        array = self._array(member, known)
        given: Mapping[str, Any] = query
        points: Any = None
        if body is not None and is_binary:
            points = np.frombuffer(body, np.uint64)
        elif body is not None:
            given = {**query, **json.loads(body)}
            points = given.get("points")
        chosen = selected(array, given.get("select"), points)
        if chosen.dtype.names is not None:
            fields = str(given["fields"]).split(":") if given.get("fields") else chosen.dtype.names
            if unknown := set(fields) - set(chosen.dtype.names):
                raise ValueError(f"there are no fields {sorted(unknown)}: expected some of {list(chosen.dtype.names)}")
            chosen = repack_fields(chosen[list(fields)])
        return {"value": chosen.tolist()} if chosen.dtype.kind == "U" else chosen.tobytes()

    def _array(self, member: Member, known: _Known) -> NDArray[Any]:
        """The array as the id tells it: as much of one that has grown. KeyError if it is another one now."""
        try:
            array = array_of(member.value)
        except TypeError as error:
            raise KeyError(str(error)) from error
        is_same = known.dtype is not None and _type(array.dtype) == _type(known.dtype)
        if not is_same or array.ndim != len(known.shape) or any(np.less(array.shape, known.shape)):
            raise KeyError(f"{'/'.join(known.path)} is another array by now: open it again")
        return array[tuple(slice(n) for n in known.shape)] if array.ndim else array

    # ---- attributes ----

    def _attributes(self, member: Member, with_values: bool) -> dict[str, Json]:
        found = {}
        for title, array in attributes_of(member)[0].items():
            found[title] = {"name": title, "type": _type(array.dtype), "shape": _shape(array), **self._times()}
            if with_values:
                found[title]["value"] = _plain(array)
        return found

    def _attribute(self, name: str, title: str) -> Json:
        found = self._attributes(self._find(name)[0], True)
        if title not in found:
            raise KeyError(f"there is no attribute {title!r}{nearest_or_all(title, found)}")
        return found[title]

    def _included_attributes(self, member: Member, query: Mapping[str, str]) -> Json:
        return {"attributes": self._attributes(member, True)} if _is_set(query, "include_attrs") else {}

    # ---- ids ----

    def _id_of_group(self, path: tuple[str, ...]) -> str:
        return self._remember(f"g-{uuid5(IDS, json.dumps(path))}", _Known(path))

    def _id_of_dataset(self, path: tuple[str, ...], array: NDArray[Any]) -> str:
        kind = "U" if array.dtype.kind == "U" else array.dtype.descr if array.dtype.names else array.dtype.str
        name = f"d-{uuid5(IDS, json.dumps([path, kind, array.shape]))}"
        return self._remember(name, _Known(path, array.dtype, array.shape))

    def _remember(self, name: str, known: _Known) -> str:
        with self._knowing:
            self._known[name] = known
            self._known.move_to_end(name)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return name

    def _find(self, name: str) -> tuple[Member, _Known]:
        known = self._known.get(name) or self._search(name)
        member = find(self._published.publish, known.path)
        if member.is_group != (known.dtype is None):
            raise KeyError(f"{'/'.join(known.path)} is something else by now: open it again")
        return member, known

    def _search(self, name: str) -> _Known:
        """Find an id that was not given out by this server, or long ago."""
        waiting: list[str] = [self._id_of_group(())]
        n_left = MAX_LISTED
        while waiting and n_left > 0:
            links = self._links(waiting.pop())
            n_left -= len(links)
            if name in self._known:
                return self._known[name]
            waiting += [link["id"] for link in links.values() if link["collection"] == "groups"]
        if name in self._known:
            return self._known[name]
        raise KeyError(f"nothing that is published has the id {name!r}, or not any more")


def _is_set(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "0").lower() not in ("", "0", "f", "false")


def _shape(array: NDArray[Any]) -> Json:
    return {"class": "H5S_SIMPLE", "dims": list(array.shape)} if array.ndim else {"class": "H5S_SCALAR"}


def _type(dtype: np.dtype[Any]) -> Json:
    if dtype.names is not None:
        return _compound({name: _type(dtype[name]) for name in dtype.names})
    order = "BE" if dtype.str[0] == ">" else "LE"
    bits = 8 * dtype.itemsize
    match dtype.kind:
        case "U":
            utf_8 = {"charSet": "H5T_CSET_UTF8", "strPad": "H5T_STR_NULLTERM"}
            return {"class": "H5T_STRING", "length": "H5T_VARIABLE", **utf_8}
        case "b":
            base = {"class": "H5T_INTEGER", "base": "H5T_STD_I8LE"}
            return {"class": "H5T_ENUM", "base": base, "mapping": {"FALSE": 0, "TRUE": 1}}
        case "c":
            part = {"class": "H5T_FLOAT", "base": f"H5T_IEEE_F{bits // 2}{order}"}
            return _compound({"r": part, "i": part})
        case "f":
            return {"class": "H5T_FLOAT", "base": f"H5T_IEEE_F{bits}{order}"}
    return {"class": "H5T_INTEGER", "base": f"H5T_STD_{dtype.kind.upper()}{bits}{order}"}


def _compound(fields: Mapping[str, Json]) -> Json:
    return {"class": "H5T_COMPOUND", "fields": [{"name": name, "type": one} for name, one in fields.items()]}


def _plain(array: NDArray[Any]) -> Any:
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], axis=-1).tolist()
    return array.tolist()
