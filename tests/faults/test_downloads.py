"""Servers that stall, break off, send too little or something else, on loopback."""

import hashlib
import http.server
import threading
import urllib.error

import pytest

from lirf_kit.data import downloading
from lirf_kit.data.downloading import UNREACHED, download

CONTENT = bytes(range(256)) * 4096  # 1 MiB
MD5 = hashlib.md5(CONTENT).hexdigest()
QUARTER = len(CONTENT) // 4


class Server(http.server.ThreadingHTTPServer):
    """Answers each request with the next of its `manners`; the last one stays."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.manners, self.asked, self.sent, self.over = ["good"], [], 0, threading.Event()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/archive.tgz"


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.asked.append(asked)
        manner = server.manners.pop(0) if len(server.manners) > 1 else server.manners[0]
        start = int(asked.split("=")[1].rstrip("-")) if asked and manner != "no ranges" else 0
        content = b"<html>" * 1000 if manner == "something else" else CONTENT[start:]
        if manner == "missing":
            self.send_error(404)
            return
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if manner != "no length":
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        sent = content[:QUARTER] if manner in ("stalls", "closes", "no length") else content
        if len(server.asked) > 1 and manner == "no length":
            sent = content
        server.sent += len(sent)  # before, since the client may be done first
        self.wfile.write(sent)
        if manner == "stalls":
            server.over.wait(60)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(downloading, "STALLED", 0.3)
    monkeypatch.setattr(downloading, "PAUSE", 0.0)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "archive.tgz"


@pytest.mark.parametrize("manner", ["stalls", "closes", "no length"])
def test_what_was_received_is_kept_and_the_next_try_goes_on_with_it(faults, server, file, manner):
    server.manners = [manner, "good"]
    with faults.fault(manner):
        if manner == "no length":  # nothing tells that it is too short, but for its checksum
            with pytest.raises(ValueError, match="something else than archive.tgz"):
                download(server.url, file, MD5)
        download(server.url, file, MD5)
    assert file.read_bytes() == CONTENT and not file.with_name("archive.tgz.part").exists()
    if manner != "no length":
        assert server.asked == [None, f"bytes={QUARTER}-"] and server.sent == len(CONTENT)


@pytest.mark.parametrize("manner", ["stalls", "closes"])
def test_a_server_that_never_comes_to_an_end_is_given_up_and_the_next_call_goes_on(faults, server, file, manner):
    server.manners = [manner]
    with faults.fault(manner):
        with pytest.raises(UNREACHED):
            download(server.url, file, MD5)
        assert server.asked == [None, f"bytes={QUARTER}-", f"bytes={2 * QUARTER}-"] and not file.exists()
        server.manners = ["good"]
        download(server.url, file, MD5)
    assert file.read_bytes() == CONTENT and server.asked[-1] == f"bytes={3 * QUARTER}-"


def test_a_server_that_knows_no_ranges_sends_all_of_it_again(faults, server, file):
    server.manners = ["closes", "no ranges"]
    with faults.fault("no ranges"):
        download(server.url, file, MD5)
    assert file.read_bytes() == CONTENT and server.sent == QUARTER + len(CONTENT)


def test_something_else_is_refused_and_not_kept(faults, server, file):
    server.manners = ["something else"]
    with faults.fault("something else"):
        with pytest.raises(ValueError, match="^the server sent something else than archive.tgz$"):
            download(server.url, file, MD5)
        assert not list(file.parent.iterdir())
        server.manners = ["good"]
        download(server.url, file, MD5)
    assert file.read_bytes() == CONTENT


def test_a_page_that_is_missing_is_said_to_be_so(faults, server, file):
    server.manners = ["missing"]
    with faults.fault("missing"), pytest.raises(urllib.error.HTTPError, match="404"):
        download(server.url, file, MD5)
    assert len(server.asked) == downloading.TRIES and not list(file.parent.iterdir())


@pytest.mark.parametrize(
    "left", [CONTENT, CONTENT + b"more", b"other bytes", b""], ids=["all", "more", "other", "none"]
)
def test_whatever_an_earlier_call_left_behind_the_file_comes_whole(faults, server, file, left):
    file.with_name("archive.tgz.part").write_bytes(left)
    with faults.fault("left behind"):
        try:
            download(server.url, file, MD5)
        except ValueError:  # the rest was added to something else: that is only seen in the end
            download(server.url, file, MD5)
    assert file.read_bytes() == CONTENT
    if left == CONTENT:
        assert not server.asked
