"""A file's lines as a lazy xarray variable: reads, and checks, only the requested lines."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from openhsi_shared.files.lines import FileLines
from openhsi_shared.groups import Variable
from openhsi_shared.loggers import safe_logger

__all__ = ["dataset_of", "decoded", "foreign_dataset", "with_lines"]

logger = safe_logger(__name__)


class _LazyLines(BackendArray):
    """Lines with axes in the order of the file."""

    def __init__(self, lines: FileLines, dims: tuple[str, ...]) -> None:
        self._lines = lines
        self._order = tuple(("y", "x", "wavelength").index(name) for name in dims)
        self.shape = tuple(lines.shape[axis] for axis in self._order)
        self.dtype = lines.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        support = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, support, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        """Line by line, so that a band of a large cube needs no more memory than one line."""
        in_lines = dict(zip(self._order, key, strict=True))
        indices = np.arange(self._lines.shape[0])[in_lines[0]]
        if np.ndim(indices) == 0:
            return self._transposed(self._lines[int(indices)][in_lines[1], in_lines[2]], in_lines)
        n_at_once = max(1, (64 << 20) // max(1, self._lines.shape[1] * self._lines.shape[2] * self.dtype.itemsize))
        parts = [
            self._lines.read(indices[begin : begin + n_at_once])[:, in_lines[1], in_lines[2]].copy()
            for begin in range(0, max(1, len(indices)), n_at_once)
        ]
        return self._transposed(np.concatenate(parts), in_lines)

    def _transposed(self, values: NDArray[Any], in_lines: Mapping[int, Any]) -> NDArray[Any]:
        """Transpose the remaining axes into the order of the file."""
        remaining = [axis for axis in (0, 1, 2) if isinstance(in_lines[axis], slice)]
        wanted = [axis for axis in self._order if axis in remaining]
        return np.asarray(values).transpose([remaining.index(axis) for axis in wanted])


def dataset_of(
    lines: FileLines,
    dims: tuple[str, ...],
    labels: Mapping[str, Any],
    variables: Mapping[str, Variable],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Build the xarray dataset of a file, decoded by xarray."""
    lazy: Any = indexing.LazilyIndexedArray(_LazyLines(lines, dims))
    return decoded({**variables, "datacube": Variable(dims, lazy, labels)}, attributes)


def decoded(variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> xr.Dataset:
    """Build an xarray dataset of variables, decoded by xarray; times that it cannot decode stay numbers."""
    arrays = {name: xr.Variable(dims, data, dict(labels)) for name, (dims, data, labels) in variables.items()}
    return _decoded(xr.Dataset(arrays, attrs=dict(attributes)))


def foreign_dataset(path: Path, **how: Any) -> xr.Dataset:
    """Open a file by xarray, with its options; times that it cannot decode stay numbers."""
    try:
        return xr.open_dataset(path, **how)
    except (ValueError, OverflowError, TypeError):
        return _decoded(xr.open_dataset(path, decode_cf=False, **how))


def _decoded(dataset: xr.Dataset) -> xr.Dataset:
    try:
        return xr.decode_cf(dataset)
    except (ValueError, OverflowError, TypeError) as error:
        stay = [str(name) for name, variable in dataset.variables.items() if not _can_be_decoded(str(name), variable)]
        logger.warning("%s: not decoded by xarray, the numbers stay as they are: %s", ", ".join(stay), error)
        numbers = xr.decode_cf(dataset[stay], decode_times=False)
        others = xr.decode_cf(dataset.drop_vars(stay))
        return others.assign({name: numbers.variables[name] for name in stay})


def _can_be_decoded(name: str, variable: xr.Variable) -> bool:
    try:
        xr.conventions.decode_cf_variable(name, variable)
    except (ValueError, OverflowError, TypeError):
        return False
    return True


def with_lines(dataset: xr.Dataset, lines: FileLines, dims: tuple[str, ...]) -> xr.Dataset:
    """The dataset with the pixels of `lines`, read on access."""
    before = dataset["datacube"].variable
    lazy: Any = indexing.LazilyIndexedArray(_LazyLines(lines, dims))
    return dataset.assign(datacube=xr.Variable(dims, lazy, before.attrs, before.encoding))
