"""`live()`: what a cell of a notebook shows, read over the kernel's own protocol and without it."""

import gc
import io
import queue
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from openhsi_shared import SharedDataCube, SharedSimulatedCamera, record
from openhsi_shared.errors import ClosedError, PackageMissing, RecordingError
from openhsi_shared.viewer.notebook import WINDOW
from tests.support import leaks
from tests.support.flow import COUNTING, account, parts_in, processes_in
from tests.support.helpers import environment, wait_for

widgets = pytest.importorskip("ipywidgets", reason="ipywidgets is missing: pip install 'openhsi_shared[notebook]'")


@pytest.fixture(autouse=True)
def _own_sockets(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def red_over_blue(tmp_path):
    """A scene whose upper half is red and whose lower half is blue."""
    pixels = np.zeros((200, 50, 3), np.uint8)
    pixels[:100, :, 0] = pixels[100:, :, 2] = 255
    Image.fromarray(pixels).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def pixels_of(image: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).astype(int)


def mappings() -> int:
    """How often shared memory is mapped into this process."""
    return sum("pym-" in line for line in Path("/proc/self/maps").read_text().splitlines())


def test_the_image_shows_the_scene_with_the_newest_line_at_the_right(red_over_blue):
    with SharedSimulatedCamera(n_lines=40, img_path=red_over_blue) as cam:
        cell = cam.live()
        cam.collect(progress=False)
        wait_for(lambda: cell.n_updates and "40 lines" in cell.counters.value)
        image = pixels_of(cell.image.value)
        assert cell.fill.value == 1.0
    assert image.shape == (644, WINDOW, 3)
    upper, lower = image[100:250, -35:-5], image[400:550, -35:-5]
    assert (upper[..., 0] > upper[..., 2] + 100).all()
    assert (lower[..., 2] > lower[..., 0] + 100).all()
    assert image[:, : WINDOW - 50].max() < 30, "where nothing came it is black"


def test_the_spectrum_is_that_of_the_pixel_that_is_chosen(red_over_blue):
    from openhsi_shared.viewer.curve import curve_picture

    with SharedSimulatedCamera(n_lines=4, img_path=red_over_blue) as cam:
        cam.collect(progress=False)
        cell = cam.live()
        cell.pixel.value = 500
        cell.close()
        expected = curve_picture(cam.wavelengths_nm, cam.lines[-1, 500], "wavelength / nm", top=cell._top)
    assert np.abs(pixels_of(cell.spectrum.value) - expected).mean() < 2


def test_it_ends_with_the_camera_and_says_what_came_last():
    cam = SharedDataCube(n_lines=6, resolution=(8, 16), pixel_format="Mono12")
    cell = cam.live()
    for value in range(5):
        cam.put(np.full((8, 16), value, np.uint16))
    assert cell.is_running
    cam.close()
    assert not cell.is_running
    assert "ended" in cell.counters.value
    assert "5 lines" in cell.counters.value
    assert cell.n_updates >= 1
    with pytest.raises(ClosedError, match="is closed"):
        cam.live()


def test_it_does_not_keep_a_camera_alive():
    cam = SharedDataCube(n_lines=6, resolution=(8, 16), pixel_format="Mono12")
    cell, reference = cam.live(), weakref.ref(cam)
    del cam
    wait_for(lambda: (gc.collect(), reference() is None)[1])
    wait_for(lambda: not cell.is_running)


def test_a_camera_may_have_several_cells_and_close_them():
    with SharedDataCube(n_lines=6, resolution=(8, 16), pixel_format="Mono12") as cam:
        first = cam.live()
        with cam.live() as second:
            first.close()
            first.close()
            assert second.is_running
        assert not first.is_running


def test_files_are_the_same_with_a_cell_that_looks(tmp_path):
    with SharedSimulatedCamera(n_lines=50, n_buffers=3, **COUNTING) as cam:
        cells = [cam.live() for _ in range(2)]
        for _ in range(8):
            cam.collect(progress=False)
            cam.save(tmp_path / "out", savefig=False)
        wait_for(lambda: all(cell.n_updates for cell in cells))
        assert cam.status().lines_lost == 0
    assert account(tmp_path / "out") == (list(range(400)), [])


def test_a_recording_is_watched_in_the_same_way(tmp_path):
    with record(SharedSimulatedCamera, tmp_path / "out", n_lines=50, rate=200, progress=False, **COUNTING) as run:
        cell = run.live()
        wait_for(lambda: cell.n_updates > 1)
        run.stop()
        summary = run.wait()
    wait_for(lambda: not cell.is_running)
    assert "ended" in cell.counters.value
    assert f"{summary.lines} lines" in cell.counters.value
    with pytest.raises(RecordingError, match="it has ended"):
        run.live()


def test_a_loss_is_shown_in_red():
    with SharedSimulatedCamera(n_lines=20, rate=1000, script={3: "gap"}, **COUNTING) as cam:
        cell = cam.live()
        cam.collect(progress=False)
        cell.close()
    assert "color:#c00" in cell.counters.value


def test_without_ipywidgets_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with SharedDataCube(n_lines=6, resolution=(8, 16), pixel_format="Mono12") as cam:
        maps_before = mappings()
        with pytest.raises(PackageMissing, match=r"live\(\) needs .* pip install 'openhsi_shared\[notebook\]'"):
            cam.live()
        assert mappings() == maps_before, "the memory is still mapped"


def test_what_fails_in_the_thread_ends_the_cell_and_is_told(monkeypatch, caplog):
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("of <the> test")

    monkeypatch.setattr("openhsi_shared.viewer.notebook.curve_picture", fail)
    with SharedDataCube(n_lines=6, resolution=(8, 16), pixel_format="Mono12") as cam:
        cell = cam.live()
        cam.put(np.zeros((8, 16), np.uint16))
        wait_for(lambda: not cell.is_running)
        assert "of &lt;the&gt; test" in cell.counters.value
        assert "live cell failed" in caplog.text
        cam.put(np.zeros((8, 16), np.uint16))


# ---- in a kernel ----

MAKE = """
import threading
from openhsi_shared import SharedSimulatedCamera
cam = SharedSimulatedCamera(n_lines=60, exposure_ms=1, rate=100)
"""


class Kernel:
    """A kernel, and all messages that it sends to a notebook."""

    def __init__(self, directory: Path) -> None:
        from jupyter_client.manager import KernelManager

        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(directory), env=environment(XDG_RUNTIME_DIR=str(directory)))
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def start(self, code: str, words: str) -> None:
        """Start a cell, and wait until it has printed `words`."""
        self.client.execute(code, stop_on_error=False)  # else code sent right after an error is not run
        while words not in self.next()["content"].get("text", ""):
            continue

    def read_on(self) -> None:
        """Read messages until an error arrives."""
        while True:
            self.next()

    def next(self) -> dict[str, Any]:
        try:
            message: dict[str, Any] = self.client.get_iopub_msg(timeout=60)
        except queue.Empty:
            raise AssertionError("no further message of the kernel") from None
        if message["msg_type"] == "error":
            raise AssertionError("\n".join(message["content"]["traceback"]))
        return message

    def run(self, code: str) -> list[dict[str, Any]]:
        """Run a cell to its end; returns its messages."""
        request, told = self.client.execute(code), []
        while True:
            message = self.next()
            told.append(message)
            is_ours = message["parent_header"].get("msg_id") == request
            if is_ours and message["content"].get("execution_state") == "idle":
                return told


LOOP = """
from tests.support import leaks
from tests.support.flow import COUNTING
from openhsi_shared import SharedSimulatedCamera
counting = SharedSimulatedCamera(n_lines=25, n_buffers=4, **COUNTING)
counting.will_save_to("out")
cell = counting.live()
while True:
    counting.collect(progress=False)
    counting.save("out", savefig=False)
    print(counting.status().cubes_saved, flush=True)
"""


@pytest.fixture(scope="module")
def shared_kernel(tmp_path_factory):
    """One for all tests, in a directory of its own; to start it takes two seconds."""
    pytest.importorskip("ipykernel", reason="ipykernel is missing: pip install 'openhsi_shared[notebook]'")
    with leaks.what_starts_is_kept():
        kernel = Kernel(tmp_path_factory.mktemp("kernel"))
    try:
        yield kernel
    finally:
        kernel.client.stop_channels()
        kernel.manager.shutdown_kernel(now=True)
        kernel.manager.cleanup_resources()


@pytest.fixture
def kernel(shared_kernel, tmp_path):
    """The kernel with a new camera in the directory of the test."""
    shared_kernel.run(f"import os; os.chdir({str(tmp_path)!r}); os.environ['XDG_RUNTIME_DIR'] = {str(tmp_path)!r}")
    shared_kernel.run(MAKE)
    yield shared_kernel
    shared_kernel.run("cam.close()")


def shown(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one["content"]["data"] for one in told if one["msg_type"] in ("display_data", "execute_result")]


def pictures(told: list[dict[str, Any]]) -> list[bytes]:
    """JPEGs that widgets were given."""
    return [bytes(buffer) for one in told if one["msg_type"] in ("comm_open", "comm_msg") for buffer in one["buffers"]]


@pytest.mark.filterwarnings("default")
def test_a_cell_shows_it_once_and_it_goes_on_while_the_kernel_is_free(kernel):
    told = kernel.run("cam.live()")
    (widget,) = [data for data in shown(told) if "application/vnd.jupyter.widget-view+json" in data]
    assert pictures(told), "empty images, until the first line comes"
    assert not [data for data in shown(told) if "LiveCell" in str(data)]
    kernel.run("collecting = threading.Thread(target=cam.collect, kwargs={'progress': False}); collecting.start()")
    images: list[np.ndarray] = []
    while len(images) < 2:  # the kernel is idle: they arrive without a request
        images += [pixels_of(one) for one in pictures([kernel.next()])]
        images = [image for image in images if image.shape[1] == WINDOW and image[:, -5:].mean() > 20]
    assert "model_id" in str(widget)
    kernel.run("collecting.join()")


@pytest.mark.filterwarnings("default")
def test_show_asks_nothing_of_the_internet_and_draws_the_colours(kernel):
    kernel.run("cam.collect(progress=False)\ncam.stop_cam()")
    told = shown(kernel.run("cam.show()"))
    scripts = "".join(str(data) for data in told)
    assert "vnd.holoviews_load" in scripts, "bokeh's scripts come inline"
    assert not [data for data in told for value in data.values() if "<script src" in str(value)]
    assert "image_rgba" in scripts or "ImageRGBA" in scripts
    (quick,) = [data for data in shown(kernel.run("cam.show(quick_imshow=True)")) if "image/png" in data]
    assert len(quick["image/png"]) > 1000
    (table,) = [data for data in shown(kernel.run("cam")) if "text/html" in data]
    assert "data:image/png;base64," in table["text/html"]
    assert "http" not in table["text/html"]


@pytest.mark.filterwarnings("default")
def test_an_interrupt_while_a_cell_looks_loses_nothing_and_the_cell_goes_on(kernel, tmp_path):
    kernel.start(LOOP, "5\n")
    kernel.manager.interrupt_kernel()
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        kernel.read_on()
    kernel.run("assert cell.is_running\ncounting.n_collected and counting.save('out', savefig=False)\ncounting.close()")
    kernel.run("assert not cell.is_running")
    saved, lost = account(tmp_path / "out")
    assert len(saved) >= 100
    assert lost == []


@pytest.mark.filterwarnings("default")
def test_a_kernel_that_is_restarted_while_a_cell_looks_leaves_every_line_in_a_file(kernel, tmp_path):
    kernel.start(LOOP, "5\n")
    before = set(processes_in(tmp_path))
    with leaks.what_starts_is_kept():
        kernel.manager.restart_kernel(now=True)
    wait_for(lambda: not before & set(processes_in(tmp_path)), 60)
    kernel.client.wait_for_ready(timeout=60)
    kernel.run(MAKE)
    saved, lost = account(tmp_path / "out")
    assert len(saved) >= 100
    assert lost == []
    assert parts_in(tmp_path / "out") == []
