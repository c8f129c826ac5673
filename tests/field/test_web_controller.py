"""A web controller: one camera that lives as long as its server, whose requests are answered by other threads."""

import json

import numpy as np
import pytest

from tests.support.clock_shim import SETTING, SteppedClock
from tests.support.flow import CAMERA, read, run
from tests.support.oracle import count

CONTROLLER = (
    CAMERA
    + SETTING
    + """
import json, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading

NOW = time.time()
set_clock(100.0 - NOW)  # no network, no battery: the board starts in 1970
cam = camera(n_buffers=3)
pages = {
    "/capture": lambda: cam.collect(progress=False),
    "/show": lambda: cam.show(quick_imshow=True),
    "/times": lambda: [str(time) for time in cam.timestamps.data],
    "/save": lambda: str(cam.save("out").result(60).path),
    "/status": lambda: cam.status().lines,
    "/clock": lambda: set_clock(0.0),  # by the browser's clock
    "/clock_back": lambda: set_clock(-600.0),
}

class Controller(BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            answer, status = pages[self.path](), 200
        except Exception as error:
            answer, status = f"{type(error).__name__}: {error}", 500
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(answer, default=str).encode())
    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Controller)
threading.Thread(target=server.serve_forever).start()

def ask(page):
    with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/{page}", timeout=50) as answer:
        return json.load(answer)

seen = []
def fly(*pages):
    for page in pages:
        answer = ask(page)
        if page == "times":
            shown = answer
        elif page == "save":
            seen.append([time.time(), shown, answer])
"""
)
END = """
server.shutdown()
server.server_close()
cam.close()
print(json.dumps(seen))
"""


@pytest.fixture
def clock(tmp_path):
    try:
        return SteppedClock(tmp_path)
    except RuntimeError as error:
        pytest.skip(str(error))


def test_a_controller_whose_clock_is_set_by_a_page_saves_every_cube_with_its_true_time(clock, tmp_path):
    """One camera for all; capture, show, save by the threads of requests; the clock is set in between, then back."""
    code = f"""{CONTROLLER}
fly("capture", "show", "times", "save")
fly("capture", "show", "clock", "capture", "show", "times", "save")
fly("capture", "times", "status", "save")
fly("clock_back", "capture", "show", "times", "save")
{END}"""
    found, output, errors = run(code, tmp_path, **clock.environment)
    assert found == 0, errors
    seen = json.loads(output.splitlines()[-1])
    for saved_s, shown, path in seen:
        cube = read(tmp_path / path)
        assert 0 < saved_s - cube.times_ns[-1] / 1e9 < 60, path
        assert shown == [str(np.datetime64(time_ns, "ns")) for time_ns in cube.times_ns]
    folders = [path.split("/")[-2] for _, _, path in seen]
    assert folders[0] == "1970_01_01"
    assert "1970_01_01" not in folders[1:]
    assert errors.count("the wall clock was set by") == 2
    verdict = count(tmp_path / "out", 40)
    assert (verdict.saved, verdict.wrong, verdict.doubled) == (32, (), ())
    assert verdict.unaccounted == tuple(range(8, 16)), "those that were only looked at"
