"""A bokeh server in this process: on the loopback address, under a path that cannot be guessed."""

import re
import threading
import urllib.error
import urllib.request
from contextlib import closing
from http.client import HTTPConnection
from urllib.parse import urljoin, urlsplit

import pytest

from openhsi_shared.errors import ArgumentError
from openhsi_shared.viewer.server import PageSocket, serve
from tests.support.helpers import wait_for


@pytest.fixture
def served():
    """Give the address of a page that is served in another thread until the test ends."""
    urls, over = [], threading.Event()
    thread = threading.Thread(
        target=serve, args=(_fill,), kwargs={"ready": urls.append, "is_over": lambda _: over.is_set()}
    )
    thread.start()
    wait_for(lambda: urls, 60)
    yield urls[0]
    over.set()
    thread.join(60)
    assert not thread.is_alive()


def _fill(document):
    from bokeh.models import Div

    document.title = "a page"
    document.add_root(Div(text="here"))


def get(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read().decode()


def test_the_page_and_what_it_needs_come_from_here(served):
    page = get(served)
    assert "<title>a page</title>" in page
    sources = re.findall(r'src="([^"]+)"', page)
    # tables, WebGL and formulas, which no page uses, would be most of what is sent
    names = {urlsplit(source).path.rsplit("/", 1)[-1] for source in sources}  # panel's, too, if this process has it
    assert {name for name in names if name.startswith("bokeh")} == {"bokeh.min.js", "bokeh-widgets.min.js"}
    for source in sources:
        assert len(get(urljoin(served, source))) > 1000
    assert "https://" not in page


def test_there_is_no_page_where_it_could_be_guessed(served):
    root = served.rsplit("/", 1)[0]
    for path in ("/", "/live", "/index.html"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(root + path)


def test_pages_of_other_sites_get_no_connection(served):
    parts = urlsplit(served)
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MTIzNDU2Nzg5MDEyMzQ1Ng==",
        "Sec-WebSocket-Protocol": "bokeh, x",
    }
    answers = {}
    for origin in ("http://elsewhere.example", f"http://localhost:{parts.port + 1}"):
        with closing(HTTPConnection(parts.hostname, parts.port, timeout=60)) as connection:
            connection.request("GET", f"{parts.path}/ws", headers=headers | {"Origin": origin})
            answers[origin] = connection.getresponse().status
    assert answers.pop("http://elsewhere.example") == 403
    assert 403 not in answers.values()  # the near end of a tunnel; only its session is missing here


def test_it_listens_on_this_machine_alone_and_a_taken_port_is_told():
    with PageSocket() as first:
        assert first.url.startswith("http://127.0.0.1:")
        port = first.socket.getsockname()[1]
        with pytest.raises(ArgumentError, match=f"cannot serve a page at 127.0.0.1:{port}: .*choose another port"):
            PageSocket(port)
        with pytest.raises(ArgumentError, match="choose another port"):
            PageSocket(70000)
    first.close()


def test_two_addresses_are_never_alike():
    with PageSocket() as first, PageSocket() as second:
        assert first.path != second.path
        assert len(first.path) > 10


def test_a_question_whether_to_end_that_fails_ends_the_server_and_is_raised():
    with pytest.raises(ZeroDivisionError):
        serve(lambda document: None, is_over=lambda _: 1 / 0)
