"""Mean spectrum and signal-to-noise ratio of all lines."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from openhsi_shared.analysis.events import Event
from openhsi_shared.analysis.pairs.lines import pixels_of
from openhsi_shared.moments import BandMoments, Joined, band_moments_of, bands_joined

__all__ = ["MeanSpectrumReducer", "MeanSpectrumWorker"]


class MeanSpectrumWorker:
    """Sends the moments of each line, band by band, in place of its pixels."""

    def process_event(self, event: Event) -> BandMoments | NDArray[np.float64] | None:
        """The moments of a line; of a header, the wavelengths."""
        line = pixels_of(event)
        if line is None:
            return event.about.wavelengths_nm if event.about else None
        return band_moments_of(line)


class MeanSpectrumReducer:
    """Publishes `mean`, `std` and `snr`, (band,), and `n_lines`.

    The ratio is that of mean and standard deviation of all pixels of a band: it is one of the camera if all pixels see
    the same, as a white reference. Pixels that are not finite are left out. Computed after Welford, without the loss of
    digits of sums of squares (B. P. Welford: Technometrics 4 (1962) 419-420; `moments.bands_joined`).
    """

    def __init__(self) -> None:
        self.publish: dict[str, Any] = {"n_lines": 0}
        self._sum: Joined[BandMoments] = Joined(bands_joined)

    def process_result(self, result: Any) -> None:
        """Add the moments of a line."""
        if not isinstance(result.payload, BandMoments):
            self.publish["wavelength"] = result.payload
            self.publish["wavelength_attrs"] = {"units": "nm"}
        elif self._sum.add(result.event_number, result.payload):
            self.publish["n_lines"] += 1

    def timer(self) -> float:
        """Publish what there is, twice a second."""
        self._update()
        return 0.5

    def finish(self) -> None:
        """Publish the result."""
        self._update()

    def _update(self) -> None:
        total = self._sum.total()
        if total is None:
            return
        with np.errstate(all="ignore"):
            std = np.sqrt(total.squares / (total.n - 1))
            mean = np.where(total.n > 0, total.mean, np.nan)
            snr = mean / std
        snr[~np.isfinite(snr)] = np.nan
        self.publish.update(mean=mean, std=std, snr=snr)
