"""An analysis over HTTP, for h5pyd and for programs that set parameters, and over its control socket."""

import http.client
import json
import os
import socket
import subprocess
import threading
from base64 import b64decode
from pathlib import Path
from urllib.parse import quote, urlsplit

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openhsi_shared.analysis.publishing.selections import selected
from openhsi_shared.analysis.publishing.server import serve
from openhsi_shared.control.control_socket import find_sockets, request
from openhsi_shared.control.messages import AskAnalysis, AskPublished, AskStatus, SetParameter
from openhsi_shared.control.snapshot import Snapshot
from openhsi_shared.errors import AnalysisError, RecordingError
from tests.support.published import PublishedHere, all_kinds

pytestmark = pytest.mark.usefixtures("runtime")

BINARY = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def published():
    return PublishedHere()


@pytest.fixture
def ask(published):
    """Send a request to an analysis: (status, headers, body)."""
    with serve(published, 0, has_socket=False) as server:
        address = urlsplit(server.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)

        def send(path, body=None, headers=(), method=None):
            connection.request(method or ("GET" if body is None else "POST"), path, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

        yield send
        connection.close()


@pytest.fixture
def get(ask):
    """GET JSON."""

    def read(path):
        status, _, body = ask(path)
        assert status == 200, body
        return json.loads(body)

    return read


def id_of(get, path):
    """Id of what has this path, as h5pyd finds it: link by link."""
    found = get("/")["root"]
    for name in path.split("/"):
        found = get(f"/groups/{found}/links/{quote(name)}")["link"]["id"]
    return found


# ---- parameters and status ----


def test_parameters_are_read_and_set_as_with_dranspose_and_the_answer_says_from_which_event_on(ask, get, published):
    before = published.parameters.hash
    status, headers, body = ask("/api/v1/parameter/till_x", b"7")
    assert (status, json.loads(body)) == (200, published.parameters.hash)
    assert published.parameters.hash != before
    assert headers["Event-Number"] == "5"
    assert headers["Event-Time"] == f"{published.log.changes[0].time}Z"
    assert ask("/api/v1/parameter/till_x")[2] == b"7"
    assert ask("/api/v1/parameter/poni", bytes(range(256)) * 1000)[0] == 200
    assert ask("/api/v1/parameter/poni")[2] == bytes(range(256)) * 1000
    described = {one["name"]: one for one in get("/api/v1/parameters")}
    assert (described["till_x"]["dtype"], described["till_x"]["value"], described["till_x"]["default"]) == ("int", 7, 2)
    status = get("/api/v1/status")
    assert (status["events"], status["age_s"], status["parameters_hash"]) == (7, None, published.parameters.hash)
    progress = get("/api/v1/progress")
    assert progress == {"last_assigned": 7, "completed_events": 7, "total_events": 10, "finished": False}


@pytest.mark.parametrize(
    ("path", "body", "headers", "status", "words"),
    [
        ("/api/v1/parameter/til_x", None, {}, 404, "no parameter 'til_x': did you mean 'till_x'?"),
        ("/api/v1/parameter/til_x", b"1", {}, 404, "did you mean 'till_x'?"),
        ("/api/v1/parameter/till_x", b"abc", {}, 400, "parameter 'till_x': expected an integer"),
        ("/api/v1/parameter/till_x", b"-1", {}, 400, "is out of range"),
        ("/api/v1/parameter/poni", b"1" * ((64 << 20) + 1), {}, 413, "expected at most 67,108,864"),
        ("/api/v1/status", None, {"Host": "evil.example"}, 403, "expected 127.0.0.1 or localhost"),
        ("/api/v1/parameter/till_x", b"1", {"Origin": "http://evil.example"}, 403, "may not use this analysis"),
        ("/groups/g-00000000-0000-0000-0000-000000000000", None, {}, 404, "nothing that is published has the id"),
        ("/nothing", None, {}, 404, "/nothing is not known here"),
        ("/groups", b"{}", {}, 405, "can only be read"),
    ],
)
def test_bad_requests_are_answered_by_what_was_expected_and_change_nothing(
    ask, published, path, body, headers, status, words
):
    answered, _, text = ask(path, body, headers)
    assert (answered, words in json.loads(text)["detail"]) == (status, True), text
    assert published.log.changes == []
    assert ask("/api/v1/progress")[0] == 200


def test_other_computers_need_the_token(published):
    with serve(published, "0.0.0.0:0", has_socket=False) as server:
        address = urlsplit(server.url)
        assert address.query == f"token={server.token}"
        found = {}
        for name, path, headers in [
            ("none", "/about", {}),
            ("wrong", "/about?token=x", {}),
            ("query", f"/about?token={server.token}", {}),
            ("h5pyd", f"/about?api_key={server.token}", {}),
            ("bearer", "/about", {"Authorization": f"Bearer {server.token}"}),
        ]:
            connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=30)
            connection.request("GET", path, headers=headers)
            found[name] = connection.getresponse().status
            connection.close()
    assert found == {"none": 401, "wrong": 401, "query": 200, "h5pyd": 200, "bearer": 200}


def test_a_taken_port_is_named():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AnalysisError, match=f"port {port} of 127.0.0.1 cannot be used"):
            serve(PublishedHere(), port, has_socket=False)
    for wrong in ("nowhere:80", 1 << 20, "80:x"):
        with pytest.raises(AnalysisError, match="expected a number from 0 to 65535"):
            serve(PublishedHere(), wrong, has_socket=False)


def test_a_reducer_that_hangs_blocks_only_what_needs_it(ask, published, monkeypatch):
    monkeypatch.setattr("openhsi_shared.analysis.publishing.published.TIMEOUT_S", 0.05)
    is_held, done = threading.Event(), threading.Event()

    def hang():
        with published.lock:
            is_held.set()
            done.wait()

    thread = threading.Thread(target=hang)
    thread.start()
    is_held.wait()
    assert ask("/")[0] == 503
    assert ask("/api/v1/status")[0] == 200
    done.set()
    thread.join()
    assert ask("/")[0] == 200


# ---- the tree, as h5pyd asks for it ----


def test_the_requests_of_h5pyd_0_24_and_1_0_are_answered(ask, get):
    about = get("/about")
    assert (about["state"], set(about) >= {"name", "hsds_version", "start_time"}) == ("READY", True)
    domain = get("/?getobjs=1&domain=%2F")
    assert domain["class"] == "domain"
    root = domain["root"]
    links = get(f"/groups/{root}/links")["links"]
    assert [link["title"] for link in links] == [key for key in all_kinds() if not key.endswith("_attrs")]
    whole = get(f"/groups/{root}?include_attrs=1&include_links=1")
    assert list(whole["links"]) == [link["title"] for link in links]
    image = id_of(get, "image")
    described = get(f"/datasets/{image}?include_attrs=1")
    assert described["shape"] == {"class": "H5S_SIMPLE", "dims": [12, 5]}
    assert described["type"] == {"class": "H5T_INTEGER", "base": "H5T_STD_U16LE"}
    assert described["attributes"]["units"]["value"] == "DN"
    assert get(f"/datasets/{image}/attributes/range")["value"] == [0, 4095]
    assert [one["name"] for one in get(f"/datasets/{image}/attributes")["attributes"]] == [
        "units",
        "range",
        "ok",
        "nan",
    ]
    assert ask(f"/datasets/{image}/attributes/none")[0] == 404
    assert ask(f"/groups/{root}/links/imag")[0] == 404
    values = all_kinds()["image"]
    assert ask(f"/datasets/{image}/value")[2] == values.tobytes()
    assert ask(f"/datasets/{image}/value?select=[0:12:5,1:3]")[2] == values[0:12:5, 1:3].tobytes()
    long = json.dumps({"select": f"[[{','.join(map(str, range(12)))}],0:5]"})
    assert ask(f"/datasets/{image}/value", long.encode(), {"Content-Type": "application/json"})[2] == values.tobytes()
    points = np.array([[1, 2], [11, 4]], np.uint64)
    assert ask(f"/datasets/{image}/value", points.tobytes(), BINARY)[2] == values[[1, 11], [2, 4]].tobytes()
    assert ask(f"/datasets/{image}/value?select=[0:13,0:5]")[0] == 400
    names = id_of(get, "names")
    assert get(f"/datasets/{names}/value") == {"value": ["a", "bcd"]}
    assert get(f"/datasets/{id_of(get, 'ok')}")["type"]["class"] == "H5T_ENUM"
    fields = id_of(get, "fields")
    assert ask(f"/datasets/{fields}/value?fields=b")[2] == np.array([1, 2], "<i4").tobytes()
    assert np.frombuffer(ask(f"/datasets/{id_of(get, 'group/deeper/y')}/value")[2], "<i8").tolist() == [1]
    assert get(f"/groups/{id_of(get, 'group')}?include_attrs=1")["attributes"]["NX_class"]["value"] == "NXdata"


def test_an_id_means_the_array_that_it_was_given_for_or_nothing(ask, get, published):
    image = id_of(get, "image")
    before = published.publish["image"].copy()
    published.publish["image"] = np.vstack([before, before])  # it has grown
    assert ask(f"/datasets/{image}/value")[2] == before.tobytes()
    assert get(f"/datasets/{image}")["shape"]["dims"] == [12, 5]
    assert id_of(get, "image") != image
    for other in (before[:5], before.astype(np.float64), before.reshape(-1), {"a": 1}):
        published.publish["image"] = other
        assert ask(f"/datasets/{image}/value")[0] == 404
    del published.publish["image"]
    assert ask(f"/datasets/{image}/value")[0] == 404


def test_ids_hold_for_another_server_of_the_same_tree(get):
    deep = id_of(get, "group/deeper/y")
    with serve(PublishedHere(), 0, has_socket=False) as server:
        address = urlsplit(server.url)
        connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
        connection.request("GET", f"/datasets/{deep}/value")
        assert connection.getresponse().read() == np.int64(1).tobytes()
        connection.close()


PARTS = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.one_of(
            st.integers(0, n - 1),
            st.builds(
                lambda a, b, c: slice(min(a, b), max(a, b), c), st.integers(0, n), st.integers(0, n), st.integers(1, 4)
            ),
            st.lists(st.integers(0, n - 1), min_size=1, max_size=4),
        ),
    )
)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(PARTS, min_size=1, max_size=3))
def test_selections_are_those_of_numpy(axes):
    parts = [part for _, part in axes]
    if sum(isinstance(part, list) for part in parts) > 1:
        parts = [part[0] if isinstance(part, list) else part for part in parts]
    array = np.arange(np.prod([n for n, _ in axes])).reshape([n for n, _ in axes])
    text = ",".join(f"{p.start}:{p.stop}:{p.step}" if isinstance(p, slice) else str(p) for p in parts)
    expected = array
    for axis, part in enumerate(parts):
        expected = np.take(expected, np.arange(array.shape[axis])[part if not isinstance(part, int) else [part]], axis)
    np.testing.assert_array_equal(selected(array, f"[{text}]"), expected)


@pytest.mark.parametrize(
    "select", ["[3]", "[0:4,0:9]", "0:1,0:1", "[a:b,0:1]", "[-1:2,0:1]", "[0:2:0,0:1]", "[[9],0:1]"]
)
def test_a_selection_that_does_not_fit_is_refused(select):
    with pytest.raises(ValueError, match="selection"):
        selected(np.zeros((4, 5)), select)


CLIENT = """
import sys, time, h5pyd, numpy as np
url, end = sys.argv[1], time.monotonic() + 3
def file():
    return h5pyd.File("/", "r", endpoint=url)
f = file()
assert sorted(f["group"]) == ["deeper", "x"]
assert f["image"].attrs["units"] == "DN"
assert f["image"][2:9:3, 1:3].tolist() == np.arange(60).reshape(12, 5)[2:9:3, 1:3].tolist()
assert f["image"][[1, 5], 0].tolist() == [5, 25] and f["list"][:].tolist() == [1, 2.5]
assert np.isnan(f["level"][()]) and f["name"][()].decode() == "Zürich" and bool(f["ok"][()])
assert "gone" not in f
shapes = set()
while time.monotonic() < end:
    for one in (f, file()):
        values = one["growing"][:]
        assert np.all(values == values[0, 0])
        shapes.add(values.shape)
assert len(shapes) > 1, shapes
print("read", len(shapes))
"""


@pytest.mark.skipif("OPENHSI_SHARED_H5PYD" not in os.environ, reason="OPENHSI_SHARED_H5PYD: interpreters with h5pyd")
def test_real_h5pyd_reads_a_tree_while_it_changes(published):
    end = threading.Event()

    def change():
        n = 0
        while not end.wait(0.001):
            n += 1
            with published.lock:
                published.publish["growing"] = np.full((5 + n // 50, 8), n, np.float32)

    published.publish["growing"] = np.zeros((5, 8), np.float32)
    thread = threading.Thread(target=change)
    thread.start()
    try:
        with serve(published, 0, has_socket=False) as server:
            for python in os.environ["OPENHSI_SHARED_H5PYD"].split(os.pathsep):
                done = subprocess.run(
                    [python, "-c", CLIENT, server.url], check=False, capture_output=True, text=True, timeout=60
                )
                assert done.stdout.startswith("read"), (python, done.stderr)
    finally:
        end.set()
        thread.join()


# ---- the control socket ----


def test_a_control_socket_gives_what_is_published_and_sets_parameters(published):
    with serve(published) as server:
        path = Path(server.socket)
        assert (server.url, find_sockets(), find_sockets(of_analyses=True)) == ("", [], [path])
        (fd,) = request(path, AskPublished(thin_to=6)).descriptors
        taken = Snapshot.from_memory(fd)
        np.testing.assert_array_equal(taken.as_dict()["image"], all_kinds()["image"][::2])
        assert not request(path, AskAnalysis()).answer.parameters  # they may be large
        answer = request(path, AskAnalysis(with_parameters=True)).answer
        assert (answer.status.events, b64decode(answer.parameters["poni"])) == (7, b"\xff\0")
        changed = request(path, SetParameter("till_x", "8")).answer
        assert (changed.event_number, changed.hash) == (5, published.parameters.hash)
        for message, words in [
            (SetParameter("till_x", "many"), "expected an integer"),
            (SetParameter("poni", "x" * (2 << 20)), "expected at most 1,048,576"),
            (AskStatus(), "does not answer AskStatus"),
        ]:
            with pytest.raises(RecordingError, match=words):
                request(path, message)
    server.close()
    assert find_sockets(of_analyses=True) == []
