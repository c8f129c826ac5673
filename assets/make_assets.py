"""Make the scene, the settings and the calibration of the simulated camera, and the settings templates of each vendor.

    python assets/make_assets.py [FOLDER]

Writes below FOLDER, by default this checkout, and only files whose contents differ: a second run changes nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
from coast import draw_coast
from numpy.typing import NDArray
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

from openhsi_shared.drivers.simulated.optics import NATIVE_SHAPE, Optics, lamp, optics_of, planck, response
from openhsi_shared.drivers.simulated.painters import dark_number

PACKAGED = Path("openhsi_shared/drivers/simulated")
TEMPLATES = Path("assets")

ROW_SLICE = (16, 620)
ALL_ROWS = (0, -1)
DARK = dark_number(4095)
FULL = 4095 - 2 * DARK
"""Digital numbers from darkness to a white scene in bright sun, at an exposure of 2 ms."""
LAMP_LUMINANCE = 10_000.0
"""Of the integrating sphere's lamp, in cd/m^2."""
EXPOSURES_MS, LUMINANCES = (1, 2, 5, 10), (0, 10_000)

SITE = {
    "luminance": 10000,
    "longitude": 151.28,
    "latitude": -33.82,
    "datetime_str": "2024-03-20 02:30",
    "altitude": 0.12,
    "radiosonde_station_num": 94767,
    "radiosonde_region": "pac",
    "sixs_path": "",
}
"""Place and time of the templates' scenes: input of the atmosphere's model."""

Dims = tuple[str, ...]
Variable = tuple[Dims, NDArray[Any]]


def settings_of_cameras() -> dict[str, dict[str, Any]]:
    """Return the settings of each camera, with the keys that openhsi's templates have."""

    def sensor(rows: int, columns: int, row_slice: tuple[int, int]) -> dict[str, Any]:
        return {"camera_id": "0", "row_slice": list(row_slice), "resolution": [rows, columns]}

    whole = {"win_offset": [0, 0], "win_resolution": [0, 0]}
    no_binning = {"binxy": [1, 1]}
    return {
        "ximea": sensor(644, 800, ROW_SLICE)
        | {"fwhm_nm": 2, "exposure_ms": 2, "luminance": 10000}
        | no_binning
        | {"win_offset": [636, 552], "win_resolution": [644, 800], "pixel_format": "XI_RAW16"},
        "flir": sensor(1536, 2048, (373, 1161)) | {"camera_id": 0, "fwhm_nm": 4, "exposure_ms": 10} | SITE | whole,
        "lucid": sensor(1080, 1440, ALL_ROWS)
        | {"fwhm_nm": 4, "exposure_ms": 10}
        | SITE
        | no_binning
        | whole
        | {"luminance": 30000, "pixel_format": "Mono12Packed", "mac_addr": "1c:0f:af:00:00:00"},
        "hikrobot": sensor(1024, 1280, ALL_ROWS)
        | {"fwhm_nm": 4, "exposure_ms": 10, "luminance": 30000}
        | no_binning
        | whole
        | {"pixel_format": "Mono10"},
        "basler": sensor(1024, 1280, ALL_ROWS)
        | {"fwhm_nm": 4, "exposure_ms": 5, "luminance": 10000}
        | no_binning
        | whole
        | {"pixel_format": "Mono12", "serial_num": None, "nodes": {}},
        "simulated": sensor(*NATIVE_SHAPE, ROW_SLICE)
        | {"camera_id": "simulated", "fwhm_nm": 4, "exposure_ms": 2}
        | SITE
        | no_binning
        | {
            "win_offset": [0, 0],
            "win_resolution": [0, 0],
            "pixel_format": "Mono12",
            "mac_addr": None,
            "serial_num": None,
        },
    }


def calibration() -> tuple[dict[str, Any], dict[str, Variable]]:
    """Return the global attributes and the variables of the simulated camera's calibration, in openhsi's layout."""
    rows = slice(*ROW_SLICE)
    optics = optics_of(NATIVE_SHAPE, slice(0, NATIVE_SHAPE[0]))
    shifts = optics.shifts[rows]
    columns = np.arange(NATIVE_SHAPE[1] - int(shifts.max()))
    wavelengths = optics.wavelengths_nm[optics.max_shift :][: len(columns)]
    linear = np.polyval(np.polyfit(columns, wavelengths, 1), columns)
    curve_nm = np.arange(350.0, 1051.0, 2.0)
    sphere, sun = sphere_radiance(curve_nm), sun_radiance(curve_nm)

    variables: dict[str, Variable] = {}
    for key, picture in (("HgAr_pic", lamp(optics.wavelengths_nm)), ("flat_field_pic", _flat_field(optics))):
        frame = DARK + FULL * optics.image(picture / picture.max())
        variables[key] = ((f"{key}_dim_x", f"{key}_dim_y"), np.rint(frame).astype(np.uint16))
    for key, row in (("smile_shifts", shifts), ("wavelengths", wavelengths), ("wavelengths_linear", linear)):
        variables[key] = ((f"{key}_dim",), row)
    for key, radiance in (("sfit", sphere), ("rad_fit", sun)):
        variables[f"{key}_x"] = ((f"{key}_dim",), curve_nm)
        variables[f"{key}_y"] = ((f"{key}_dim",), radiance)
    variables["rad_ref"] = (
        ("cross_track", "wavelength_index", "exposure", "luminance"),
        _references(optics, rows, float(sun.max())),
    )
    for key, values in (
        ("cross_track", np.arange(len(shifts), dtype=np.int32)),
        ("wavelength_index", np.arange(NATIVE_SHAPE[1], dtype=np.int32)),
        ("exposure", np.array(EXPOSURES_MS, np.int32)),
        ("luminance", np.array(LUMINANCES, np.int32)),
    ):
        variables[key] = ((key,), values)
    return {"camera_id": "simulated", "spec_rad_ref_luminance": LAMP_LUMINANCE}, variables


def sphere_radiance(wavelengths_nm: NDArray[Any]) -> NDArray[Any]:
    """Return the spectral radiance in uW/cm^2/sr/nm of a halogen lamp of 3000 K at `LAMP_LUMINANCE`."""
    eye_nm = np.arange(380.0, 781.0)
    eye = np.exp(-0.5 * ((eye_nm - 557.0) / 43.0) ** 2)  # how bright the human eye finds each wavelength
    luminance = 683.0 * np.sum(eye * planck(eye_nm, 3000.0))
    return planck(wavelengths_nm, 3000.0) * LAMP_LUMINANCE / luminance * 100.0


def sun_radiance(wavelengths_nm: NDArray[Any]) -> NDArray[Any]:
    """Return the spectral radiance in uW/cm^2/sr/nm of a white surface in the sun, with what the air takes out."""
    radiance = 41.0 * planck(wavelengths_nm, 5800.0) / planck(np.array([500.0]), 5800.0)
    radiance *= 1.0 - 0.35 * (400.0 / wavelengths_nm) ** 4
    for centre_nm, width_nm, depth in (
        (687.0, 3, 0.35),
        (719.0, 8, 0.25),
        (760.5, 3, 0.6),
        (822.0, 10, 0.2),
        (940.0, 22, 0.55),
    ):
        radiance *= 1.0 - depth * np.exp(-(((wavelengths_nm - centre_nm) / width_nm) ** 2))
    return radiance


def _flat_field(optics: Optics) -> NDArray[Any]:
    return planck(optics.wavelengths_nm, 5800.0) * response(optics.wavelengths_nm)


def _references(optics: Optics, rows: slice, white: float) -> NDArray[Any]:
    """Return what the sphere gives at each exposure and luminance; a radiance of `white` gives `FULL` at 2 ms.

    Not cut at the sensor's largest number, so that the longer exposures have a reference, too.
    """
    light = optics.image(sphere_radiance(optics.wavelengths_nm) * response(optics.wavelengths_nm))[rows]
    times = np.array(EXPOSURES_MS)[:, None] * np.array(LUMINANCES) / LAMP_LUMINANCE
    frames = DARK + FULL / (2.0 * white) * light[:, :, None, None] * times
    return np.asarray(np.rint(frames), np.int32)


# ---- writing what differs ------------------------------------------------------------
def write_scene(path: Path, picture: NDArray[np.uint8]) -> bool:
    if path.exists() and np.array_equal(np.asarray(Image.open(path)), picture):
        return False
    Image.fromarray(picture).save(path, optimize=True)
    return True


def write_settings(path: Path, values: dict[str, Any]) -> bool:
    text = json.dumps(values, indent=4) + "\n"
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    path.write_text(text, encoding="utf-8")
    return True


def write_calibration(path: Path) -> bool:
    attributes, variables = calibration()
    if path.exists() and _holds(path, attributes, variables):
        return False
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(attributes)
        for dims, values in variables.values():
            for name, size in zip(dims, values.shape, strict=True):
                if name not in file.dimensions:
                    file.createDimension(name, size)
        for key, (dims, values) in variables.items():
            shuffle = key != "rad_ref"  # a camera is opened 25 ms sooner without it, for 25 KB
            variable = file.createVariable(key, values.dtype, dims, compression="zlib", complevel=9, shuffle=shuffle)
            variable[...] = values
    return True


def _holds(path: Path, attributes: dict[str, Any], variables: dict[str, Variable]) -> bool:
    with netCDF4.Dataset(path) as file:
        file.set_auto_mask(False)
        return {key: file.getncattr(key) for key in file.ncattrs()} == attributes and all(
            key in file.variables
            and file[key].dimensions == dims
            and file[key].dtype == values.dtype
            and np.array_equal(file[key][...], values)
            for key, (dims, values) in variables.items()
        )


def write_all(folder: Path, scene: NDArray[np.uint8]) -> dict[Path, bool]:
    """Write what differs; return whether each file, named below `folder`, was written."""
    for place in (PACKAGED, TEMPLATES):
        (folder / place).mkdir(parents=True, exist_ok=True)
    settings = settings_of_cameras()
    templates = {TEMPLATES / f"cam_settings_{camera}.json": values for camera, values in settings.items()}
    templates[PACKAGED / "cam_settings_simulated.json"] = settings["simulated"]
    calibration_path = PACKAGED / "cam_calibration_simulated.nc"
    return {
        PACKAGED / "scene.png": write_scene(folder / PACKAGED / "scene.png", scene),
        calibration_path: write_calibration(folder / calibration_path),
        **{path: write_settings(folder / path, values) for path, values in templates.items()},
    }


def main(folder: Path) -> None:
    for path, is_new in write_all(folder, draw_coast()).items():
        print(f"{'made' if is_new else 'same'} {path} {(folder / path).stat().st_size:8d} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
