"""A file's lines as a variable of xarray that reads, and checks, what is asked for."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from openhsi_shared.dataset import Variable
from openhsi_shared.files.lines import FileLines

__all__ = ["dataset_of", "decoded"]


class _LazyLines(BackendArray):
    """Lines in the order of the file's axes."""

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
        chosen = np.arange(self._lines.shape[0])[in_lines[0]]
        if np.ndim(chosen) == 0:
            return self._turned(self._lines[int(chosen)][in_lines[1], in_lines[2]], in_lines)
        at_once = max(1, (64 << 20) // max(1, self._lines.shape[1] * self._lines.shape[2] * self.dtype.itemsize))
        parts = [
            self._lines.read(chosen[begin : begin + at_once])[:, in_lines[1], in_lines[2]].copy()
            for begin in range(0, max(1, len(chosen)), at_once)
        ]
        return self._turned(np.concatenate(parts), in_lines)

    def _turned(self, values: NDArray[Any], in_lines: Mapping[int, Any]) -> NDArray[Any]:
        """Put the axes that are left into the order of the file."""
        left = [axis for axis in (0, 1, 2) if isinstance(in_lines[axis], slice)]
        wanted = [axis for axis in self._order if axis in left]
        return np.asarray(values).transpose([left.index(axis) for axis in wanted])


def dataset_of(
    lines: FileLines,
    dims: tuple[str, ...],
    labels: Mapping[str, Any],
    variables: Mapping[str, Variable],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Put a file together for xarray, decoded as xarray does it."""
    lazy: Any = indexing.LazilyIndexedArray(_LazyLines(lines, dims))
    return decoded({**variables, "datacube": Variable(dims, lazy, labels)}, attributes)


def decoded(variables: Mapping[str, Variable], attributes: Mapping[str, Any]) -> xr.Dataset:
    """Put variables together for xarray, decoded as xarray does it."""
    arrays = {name: xr.Variable(dims, data, dict(labels)) for name, (dims, data, labels) in variables.items()}
    return xr.decode_cf(xr.Dataset(arrays, attrs=dict(attributes)))
