"""The references of a camera that its cubes are saved with, as long as they fit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from openhsi_shared.errors import ArgumentError, FileError, ReferenceRefused
from openhsi_shared.files.references import KINDS, Kind, Reference, check_kind, differences, newest_references
from openhsi_shared.loggers import safe_logger
from openhsi_shared.paths import given_path

__all__ = ["ReferencesInForce", "read_references"]

logger = safe_logger(__name__)


def read_references(given: Any) -> dict[Kind, Reference]:
    """Read the keyword `references` of a camera: {"dark": path, "white": path}, or a folder that contains `references`.

    ArgumentError for anything else, FileError for a file that cannot be read, or that is one of the other kind.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        folder = given_path(given, "references", 'a mapping {"dark": path, "white": path}, or a folder')
        found = newest_references(folder)
        if not found:
            raise FileError(f"{folder} has no references: take_reference writes them, in a folder `references` of it")
        return {kind: Reference.read(path) for kind, path in found.items()}
    read = {check_kind(kind): Reference.read(path) for kind, path in given.items() if path is not None}
    for kind, reference in read.items():
        if reference.kind != kind:
            raise ArgumentError(f"references: {reference.path} is a {reference.kind} reference, not a {kind} one")
    return read


class ReferencesInForce:
    """Dark and white reference, at most one of each."""

    def __init__(self) -> None:
        self.by_kind: dict[Kind, Reference] = {}
        self.version = 0
        """Changes with them."""
        self._given: Any = None
        self._refused: set[tuple[str, str]] = set()

    def use(self, reference: Reference) -> None:
        """Use it for the cubes that are saved from now on."""
        self.by_kind[reference.kind] = reference
        self.version += 1

    def use_given(self, given: Any, references: Mapping[Kind, Reference], attributes: Mapping[str, Any]) -> None:
        """Use those that were read of the keyword `given`, once. ReferenceRefused if one does not fit `attributes`."""
        if given is self._given:
            return
        for reference in references.values():
            if found := differences(reference.attributes, attributes):
                raise ReferenceRefused(
                    f"the {reference.kind} reference {reference.path} does not belong to this camera as it is set: "
                    f"{'; '.join(found)}; take another one"
                )
        self._given = given
        for reference in references.values():
            self.use(reference)

    def use_newest(self, directory: Path) -> None:
        """Use the newest ones in the folder `references` of `directory`, of the kinds that there are none of.

        Those that cannot be read are logged.
        """
        for kind, path in newest_references(directory).items():
            if kind not in self.by_kind:
                try:
                    self.use(Reference.read(path))
                except FileError as error:
                    logger.warning("%s reference is not used: %s", kind, error)

    def fitting(self, attributes: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
        """Path and checksum, by kind, of those that fit lines with these attributes; one warning for each other one."""
        fitting: dict[str, tuple[str, str]] = {}
        for kind in KINDS:
            reference = self.by_kind.get(kind)
            if reference is None:
                continue
            found = "; ".join(differences(reference.attributes, attributes))
            if not found:
                fitting[kind] = str(reference.path), reference.sha256
            elif (reference.sha256, found) not in self._refused:
                self._refused.add((reference.sha256, found))
                logger.warning("cubes are saved without the %s reference %s: %s", kind, reference.path, found)
        return fitting
