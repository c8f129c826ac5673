"""Labels of cubes: where and how each is to be saved, with the metadata and provenance of its file."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openhsi_shared.attributes import json_value
from openhsi_shared.datacube.references_in_force import ReferencesInForce
from openhsi_shared.errors import SettingsError
from openhsi_shared.settings import CameraSettings, read_json
from openhsi_shared.writer.messages import Label
from openhsi_shared.writer.save_request import SaveRequest

__all__ = ["Labeller"]


class Labeller:
    """Makes the labels of one camera's cubes. An unchanged label is reused: `save` must be fast."""

    def __init__(
        self, about: Mapping[str, Any], metadata: Mapping[str, Any], references: ReferencesInForce | None = None
    ) -> None:
        """`about` is written to every file; keywords of the camera are written to its `settings`.

        An `exposure_ms` of None there means unknown. `metadata` is also written to every file, unless the user's
        metadata file overrides it. `references`: those that belong to the cubes, if they fit.
        """
        self._about, self._references = about, references or ReferencesInForce()
        self._basis = dict(metadata)
        self._metadata: tuple[Any, dict[str, Any]] = (None, {})
        self._last: tuple[Any, Label] | None = None

    def add(self, **about: str) -> None:
        """Write these attributes to every file, too."""
        self._about = {**self._about, **about}
        self._last = None

    def label(
        self,
        settings: CameraSettings,
        attributes: Mapping[str, Any],
        request: SaveRequest,
    ) -> Label:
        """Make the label that is sent to the writer. SettingsError for metadata that cannot be read."""
        metadata = self._read_metadata(request.preconfig_meta_path)
        how = (request, dict(attributes), self._references.version)
        if self._last is not None:
            (last_settings, last_metadata, last_how), label = self._last
            if last_settings is settings and last_metadata is metadata and last_how == how:
                return label
        found = self.attributes(settings, attributes)
        label = dataclasses.replace(request.label(metadata, found), references=self._references.fitting(found))
        self._last = (settings, metadata, how), label
        return label

    def _read_metadata(self, path: str | Path | None) -> dict[str, Any]:
        """Read the file once, and again when it has changed."""
        if not path:
            return self._basis
        try:
            stat = Path(path).stat()
        except (OSError, TypeError, ValueError) as error:
            raise SettingsError(f"preconfig_meta_path {path} cannot be read: {error}; expected a JSON file") from error
        version = (str(path), stat.st_mtime_ns, stat.st_size)
        if self._metadata[0] != version:
            self._metadata = version, self._basis | read_json(path, "preconfig_meta_path")
        return self._metadata[1]

    def attributes(self, settings: CameraSettings, more: Mapping[str, Any]) -> dict[str, Any]:
        """What is written to every file about the camera and its settings, and `more`."""
        keywords = {
            name: self._about[name] for name in ("n_lines", "processing_lvl", "exposure_ms") if name in self._about
        }
        attributes = {
            "settings": json.dumps(settings.model_dump() | keywords, default=json_value),
            "exposure_ms": keywords.get("exposure_ms", settings.exposure_ms),
            "camera_id": str(settings.camera_id),
            **{name: value for name, value in self._about.items() if name not in keywords},
        }
        known = {name: value for name, value in attributes.items() if value is not None}  # unknown values are omitted
        return {**known, **more}
