"""An HTTP server for models that cuts, stalls, lies and redirects as a test tells it to."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import threading
from collections.abc import Iterator
from unittest import mock
from urllib.parse import urlsplit

from attrs import define, field


@define
class Page:
    """What is at a path. `cut`: so many bytes of a body are sent, then the connection is broken off.

    `length` is what is claimed instead of the truth, `status` an answer without a body, `stall` what is
    waited for after `cut` bytes, instead of breaking off at once; `stalled` tells that it is so far.
    `ranges` and `heads`: whether parts and HEAD can be asked for.
    """

    content: bytes = b""
    tag: str = '"1"'
    modified: str = ""
    cut: int | None = None
    length: int | None = None
    status: int = 200
    location: str = ""
    stall: threading.Event | None = None
    ranges: bool = True
    heads: bool = True
    chunked: bool = False
    encoding: str = ""
    ignores_condition: bool = False
    stalled: threading.Event = field(factory=threading.Event)


@define
class Asked:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]


@define(eq=False)
class Models:
    """What is served, by path, and what was asked for."""

    url: str = ""
    pages: dict[str, Page] = field(factory=dict)
    asked: list[Asked] = field(factory=list)

    def count(self, method: str) -> int:
        """Requests of that method."""
        return sum(one.method == method for one in self.asked)

    def ranges(self) -> list[str]:
        """The parts that were asked for, one each GET; empty: all of it."""
        return [one.headers.get("range", "") for one in self.asked if one.method == "GET"]

    def hub(self, repository: str, files: dict[str, bytes], *, commit: str, told: dict[str, object]) -> None:
        """Serve a repository as the hub does. `told`: what is said of files by name, beside their sizes."""
        siblings = [
            {"rfilename": name, "size": len(content), "blobId": str(number), **_as_dict(told.get(name))}
            for number, (name, content) in enumerate(files.items())
        ]
        text = json.dumps({"sha": commit, "siblings": siblings}).encode()
        for revision in ("main", commit):
            self.pages[f"/api/models/{repository}/revision/{revision}"] = Page(text)
        for name, content in files.items():
            self.pages[f"/{repository}/resolve/{commit}/{name}"] = Page(content, tag="")


def _as_dict(told: object) -> dict[str, object]:
    return told if isinstance(told, dict) else {}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's own
        """Nobody reads it."""

    def _answer(self, *, body: bool) -> None:
        self.close_connection = True
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.models.asked.append(Asked(self.command, self.path, headers))
        page = self.server.models.pages.get(urlsplit(self.path).path, Page(status=404))
        if not body and not page.heads:
            page = Page(status=405)
        with contextlib.suppress(ConnectionError):
            self._send(page, body)

    def _send(self, page: Page, body: bool) -> None:
        if page.status != 200:
            self.send_response(page.status)
            if page.location:
                self.send_header("Location", page.location)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        first = self._first(page)
        if first is not None and first >= len(page.content):
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self._head(page, first)
        if body:
            self._body(page, page.content[first or 0 :], first or 0)

    def _first(self, page: Page) -> int | None:
        asked = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        same = page.ignores_condition or condition in (None, page.tag or page.modified)
        if not asked or not page.ranges or not same:
            return None
        return int(asked.removeprefix("bytes=").partition("-")[0])

    def _head(self, page: Page, first: int | None) -> None:
        size = len(page.content) if page.length is None else page.length
        self.send_response(200 if first is None else 206)
        if first is not None:
            self.send_header("Content-Range", f"bytes {first}-{size - 1}/{size}")
        named = {"ETag": page.tag, "Last-Modified": page.modified, "Content-Encoding": page.encoding}
        for name, value in named.items():
            if value:
                self.send_header(name, value)
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(size - (first or 0)))
        self.end_headers()

    def _body(self, page: Page, content: bytes, first: int) -> None:
        if page.chunked:
            content = b"%x\r\n" % len(content) + content + b"\r\n0\r\n\r\n"
        end = len(content) if page.cut is None else max(0, page.cut - first)
        self.wfile.write(content[:end])
        self.wfile.flush()
        if page.stall is not None and end < len(content):
            page.stalled.set()
            page.stall.wait(60)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for all of them
    models: Models


@contextlib.contextmanager
def serving(pages: dict[str, Page] | None = None) -> Iterator[Models]:
    """Serve pages for the length of the block."""
    direct = dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1")
    with mock.patch.dict(os.environ, direct), _Server(("127.0.0.1", 0), _Handler) as server:
        server.models = Models(f"http://127.0.0.1:{server.server_address[1]}", pages or {})
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.models
        finally:
            for page in server.models.pages.values():
                if page.stall is not None:
                    page.stall.set()
            server.shutdown()
            thread.join()
