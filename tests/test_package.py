"""The package as a whole: its names, and that importing it is light."""

import ast
import gc
import importlib
import json
import logging
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

import openhsi_shared
from openhsi_shared.processes.child import Child
from openhsi_shared.processes.liveness import Parent

EXPECTED = {
    *("CircArrayBuffer", "DateTimeBuffer", "SharedCircArrayBuffer", "SharedDataCube", "SharedOpenHSI"),
    *("SharedSimulatedCamera", "SharedReplayCamera", "SharedBaslerCamera"),
    *("open_cube", "record", "save_shared_datacube", "switched_camera", "verify"),
    *("ProcessDatacube", "ProcessRawDatacube", "SharedRing", "Viewer", "cube_viewer", "recover"),
}

HEAVY = [
    *("pydantic", "xarray", "matplotlib", "h5py", "netCDF4", "holoviews", "bokeh", "scipy", "PIL", "numba"),
    *("pandas", "pypylon", "tqdm", "multiprocessing"),
]


@pytest.mark.parametrize("name", openhsi_shared.__all__)
def test_every_name_that_is_promised_can_be_imported(name):
    assert getattr(openhsi_shared, name).__name__ == name
    assert getattr(openhsi_shared, name).__doc__


def test_the_names_that_others_rely_on_are_promised():
    assert set(openhsi_shared.__all__) >= EXPECTED
    assert sorted(openhsi_shared.__all__) == openhsi_shared.__all__
    assert set(openhsi_shared.__all__) <= set(dir(openhsi_shared))


def test_a_star_import_brings_them_all():
    names: dict[str, object] = {}
    exec("from openhsi_shared import *", names)
    assert set(openhsi_shared.__all__) <= set(names)


LAZY = [f"openhsi_shared.{name}" for name in ("analysis", "channels", "files", "jobs", "viewer")]


@pytest.mark.parametrize("name", LAZY)
def test_packages_have_what_they_promise_and_no_module_of_the_same_name(name):
    package = importlib.import_module(name)
    for promised in package.__all__:
        assert not isinstance(getattr(package, promised), ModuleType), promised
    assert set(package.__all__) <= set(dir(package))


def test_modules_that_a_folder_describes_are_in_it():
    """A newcomer looks for them there. Other words of code are names of this library, or of modules elsewhere."""
    folder = Path(openhsi_shared.__file__).parent
    others = {"row_slice", "record_all", "tap"}
    described = {
        (path.parent, word)
        for path in folder.rglob("__init__.py")
        for word in re.findall(r"`([a-z_]+)`", ast.get_docstring(ast.parse(path.read_text())) or "")
    }
    assert len(described) > 100
    lost = [(room.name, word) for room, word in described if not [*room.glob(f"{word}.py"), *room.glob(f"{word}/")]]
    assert [one for one in lost if one[1] not in others] == []


def test_each_name_is_promised_where_it_is_defined():
    """Else readers look for it in two places. Only packages pass names on."""
    folder = Path(openhsi_shared.__file__).parent
    passed_on = []
    for path in folder.rglob("*.py"):
        if path.name == "__init__.py":
            continue
        body = ast.parse(path.read_text()).body
        imported = {one.name for node in body if isinstance(node, ast.ImportFrom) for one in node.names}
        lists = [node.value for node in body if isinstance(node, ast.Assign) and "__all__" in ast.unparse(node.targets)]
        promised = {name for value in lists for name in ast.literal_eval(value)}
        passed_on += [f"{path.relative_to(folder)}: {name}" for name in sorted(promised & imported)]
    assert passed_on == []


@pytest.mark.parametrize("name", ["openhsi_shared", *LAZY])
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match=f"module '{name}' has no attribute 'SharedDataCub'"):
        _ = importlib.import_module(name).SharedDataCub


def test_the_cameras_have_a_module_of_their_own():
    from openhsi_shared.cameras import SharedBaslerCamera, SharedReplayCamera, SharedSimulatedCamera

    for camera in (SharedBaslerCamera, SharedReplayCamera, SharedSimulatedCamera):
        assert getattr(openhsi_shared, camera.__name__) is camera


def _loaded_after(code: str) -> list[str]:
    code = f"{code}\nimport json, sys; print(json.dumps([n for n in {HEAVY!r} if n in sys.modules]))"
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout)


def test_importing_the_package_loads_nothing_heavy():
    assert _loaded_after("import openhsi_shared") == []


def test_a_cube_that_is_only_made_does_not_load_what_draws_and_reads():
    drawing = {"xarray", "matplotlib", "holoviews", "bokeh", "scipy", "numba", "pandas", "pypylon"}
    loaded = _loaded_after("from openhsi_shared import SharedDataCube; SharedDataCube(2, resolution=(4, 8)).close()")
    assert not drawing & set(loaded)


CHILDREN = {
    "openhsi_shared.writer.loop": {"pydantic", "tqdm", "PIL"},
    "openhsi_shared.recording.loop": {"tqdm", "PIL", "openhsi_shared.analysis.live.dispatcher"},
    "openhsi_shared.channels.process": {"tqdm", "PIL", "openhsi_shared.cameras"},
    "openhsi_shared.analysis.work.worker_process": {"pydantic", "tqdm", "PIL", "h5py", "openhsi_shared.cameras"},
    "openhsi_shared.analysis.live.dispatcher": {"pydantic", "tqdm", "PIL", "h5py", "openhsi_shared.cameras"},
    "openhsi_shared.analysis.live.reducer_process": {"pydantic", "tqdm", "PIL", "h5py", "openhsi_shared.cameras"},
    "openhsi_shared.jobs.workers.worker_process": {"tqdm", "PIL", "openhsi_shared.cameras", "openhsi_shared.writer"},
    "openhsi_shared.processes.pool": {"numpy", "pydantic", "tqdm", "PIL", "h5py", "openhsi_shared.cameras"},
    "openhsi_shared.viewer.ring_viewer": {"pydantic", "tqdm", "PIL", "h5py", "openhsi_shared.cameras"},
}
"""Modules that processes are started with, and what these do not import: each imports all the same things again."""
FOR_NONE = {"asyncio", "xarray", "netCDF4", "matplotlib", "scipy", "numba", "pandas", "bokeh", "dask", "cbor2"} | {
    *("http", "psutil", "numpy.ma", "tornado", "click")
}


def _imported_with(module: str) -> tuple[bool, set[str]]:
    importlib.import_module(module)
    return gc.isenabled(), (CHILDREN[module] | FOR_NONE) & sys.modules.keys()


def _tell_imported(parent: Parent, module: str) -> None:
    parent.tell(_imported_with(module))


@pytest.mark.parametrize("module", CHILDREN)
def test_a_process_imports_only_what_it_needs(module):
    child = Child(_tell_imported, (module,), name="child", logger=logging.getLogger(__name__))
    assert child.first_message(AssertionError) == (True, set())
    child.end(20)
    child.close()


NOT_FROM_PIP = {"ximea", "PySpin", "arena_api", "MvCameraControl_class", "gi"}
"""What vendors, or Debian, bring."""
COME_WITH_ANOTHER = {"IPython", "genicam", "pandas"}
"""With ipykernel, with harvesters, with xarray."""
OTHER_NAMES = {"PIL": "pillow", "cv2": "opencv-python-headless", "serial": "pyserial", "epics": "pyepics"}
FOR_OTHERS = {"ipykernel", "jupyter_bokeh"}
"""Nothing imports them, but a notebook needs them."""
OMITTED = {"xarray", "h5netcdf", "scipy", "matplotlib", "holoviews", "bokeh", "tornado", "numba"}
"""What a small installation omits; `.ci/wheel` uses one."""
PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _imported():
    """Names of packages that any module imports, also inside functions."""
    for path in Path(openhsi_shared.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "needed":
                yield ast.literal_eval(node.args[0]).split(".")[0]


def test_the_packages_that_are_imported_are_those_that_are_declared():
    extras = PROJECT["optional-dependencies"]
    for_all = re.fullmatch(r"openhsi_shared\[(.*)\]", extras["all"][0])[1].split(",")
    assert set(for_all) == set(extras) - {"all", "test", "contract", "dranspose"}  # dranspose needs an old cbor2
    declared = [*PROJECT["dependencies"], *(one for name in (*for_all, "contract") for one in extras[name])]
    names = {re.match(r"[\w-]+", one)[0] for one in declared} - FOR_OTHERS
    found = set(_imported()) - set(sys.stdlib_module_names) - NOT_FROM_PIP - COME_WITH_ANOTHER - {"openhsi_shared"}
    assert {OTHER_NAMES.get(name, name) for name in found} == names


def test_the_list_of_a_small_installation_has_all_requirements_but_those_that_it_may_omit():
    text = (Path(__file__).parents[1] / "requirements-headless.txt").read_text(encoding="utf-8")
    small = [line for line in text.splitlines() if not line.startswith("#")]
    assert small == [one for one in PROJECT["dependencies"] if re.match(r"[\w-]+", one)[0] not in OMITTED]
