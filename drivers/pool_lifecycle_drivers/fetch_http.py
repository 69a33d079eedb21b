"""Models behind http:// and https://, read with nothing but the standard library.

fsspec could read them too, but does not say whether the content changed between two reads, takes a body that
was cut off for a whole one, and is slower than the disk.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from email.message import Message
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

from attrs import define, field, frozen

from pool_lifecycle_drivers.fetch_source import Listing, Remote, Trouble, Watch
from pool_lifecycle_drivers.model_files import parts_of, url_name

TIMEOUT = 30.0
"""Seconds without a single byte after which a source counts as stalled."""

BLOCK = 1 << 19
"""Bytes asked for at once."""

NO_HEAD = frozenset((400, 403, 405, 501))
"""How servers answer that only know GET: among them those whose signed URLs are good for nothing else."""

PASSING = frozenset((408, 425, 429))

ABSENT = frozenset((404, 410))


@frozen
class HttpSource:
    """A model of one file, or of all parts if the name is that of a part. `headers` go to no other host.

    `fixed`: what is behind a URL never changes, so validators are not the server's business.
    """

    url: str
    headers: Mapping[str, str] = {}
    timeout: float = TIMEOUT
    fixed: bool = False

    def look(self, watch: Watch) -> Listing:
        """Ask for name, size and validator of each part."""
        before, slash, name = urlsplit(self.url).path.rpartition("/")
        names = parts_of(name)
        urls = [urlsplit(self.url)._replace(path=before + slash + one).geturl() for one in names]
        if len(names) == 1:
            urls = [self.url]
        return Listing(url_name(urls[0]), tuple(self._look(url, watch) for url in urls))

    def _look(self, url: str, watch: Watch) -> Remote:
        try:
            answer = self._ask(url, watch, method="HEAD")
        except Refused as refusal:
            if refusal.code not in NO_HEAD:
                raise
            answer = self._ask(url, watch, headers={"Range": "bytes=0-0"})
        with answer:
            return Remote(url_name(url), url, _whole_size(answer), _validator(answer.headers))

    def get(self, url: str, watch: Watch, *, most: int) -> bytes:
        """A short answer as a whole. Raises Trouble, also for one longer than `most` bytes."""
        body = HttpBody(self._ask(url, watch), url, self.timeout)
        text = bytearray()
        try:
            while piece := body.read():
                watch.check()
                text += piece
                if len(text) > most:
                    raise Trouble(f"{shown(url)} is longer than {most} bytes", "look at it", heals=False)
        finally:
            body.close()
        return bytes(text)

    def open(self, file: Remote, offset: int, watch: Watch) -> HttpBody:
        """The body of an answer that continues what is there, or of one that begins anew."""
        known = file.validator if self.fixed else ""
        if offset and file.validator:
            condition = {} if self.fixed else {"If-Range": file.validator}
            with suppress(Refused):  # such as "416 Range Not Satisfiable": begin anew
                answer = self._ask(file.address, watch, headers={"Range": f"bytes={offset}-", **condition})
                body = HttpBody(answer, file.address, self.timeout, known)
                if body.continues(offset, file):
                    return body
                body.close()
        return HttpBody(self._ask(file.address, watch), file.address, self.timeout, known)

    def settle(self, listing: Listing) -> None:
        """Each file was read from one answer, or from several to the same validator."""

    def in_place(self) -> None:
        """It is nowhere but there."""

    def _ask(
        self, url: str, watch: Watch, *, method: str = "GET", headers: Mapping[str, str] = {}
    ) -> http.client.HTTPResponse:
        request = urllib.request.Request(url, method=method)  # noqa: S310 - http or https, see the caller
        for name, value in {"Accept-Encoding": "identity", "User-Agent": "pool-lifecycle"}.items():
            request.add_header(name, value)
        for name, value in {**self.headers, **headers}.items():
            request.add_header(name, value)
        watch.check()
        try:
            answer = _opener(watch, tuple(self.headers)).open(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            error.close()
            watch.check()
            raise _refusal(url, error) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            watch.check()
            raise _unreachable(url, error, self.timeout) from error
        assert isinstance(answer, http.client.HTTPResponse), "nothing but HTTP was opened"
        return answer


class Refused(Trouble):
    """The server answered, and said no."""

    code = 0


@define(eq=False)
class HttpBody:
    """What an answer carries. It knows where its bytes belong, and how many there are to be."""

    _answer: http.client.HTTPResponse
    _url: str
    _timeout: float
    _known: str = ""
    offset: int = field(init=False)
    size: int | None = field(init=False)
    validator: str = field(init=False)
    _left: int | None = field(init=False)

    def __attrs_post_init__(self) -> None:
        headers = self._answer.headers
        first, _ = _range(headers) if self._answer.status == 206 else (0, None)
        self.offset = first or 0
        self.size = _whole_size(self._answer)
        self.validator = self._known or _validator(headers)
        self._left = None if self.size is None else self.size - self.offset
        if headers.get("Content-Encoding", "identity") != "identity":
            self.close()
            remedy = "have it served as it is, without compression"
            raise Trouble(f"{shown(self._url)} is sent compressed", remedy, heals=False)

    def continues(self, offset: int, file: Remote) -> bool:
        """Whether these bytes belong behind what is there already; else they are all of them, or useless."""
        if self._answer.status != 206:
            return self.offset == 0
        same = self.validator in ("", file.validator) and file.size in (None, self.size)
        return same and self.offset == offset

    def read(self) -> bytes:
        """Some more bytes, none at the end. Raises Trouble when the end comes too early, or nothing comes."""
        try:
            piece = self._answer.read1(BLOCK)
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # AttributeError: http.client, of a chunk that was cut off
            raise _unreachable(self._url, error, self._timeout) from error
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left:
                raise Trouble(
                    f"{shown(self._url)} was cut off {self._left} bytes before its end", AGAIN, heals=True
                )
        return piece

    def close(self) -> None:
        """Close the connection."""
        self._answer.close()


AGAIN = "it goes on from there when it is tried again; if it does not, look at the source and the way to it"


def shown(url: str) -> str:
    """A URL for people, without what may be secret in it."""
    parts = urlsplit(url)
    return repr(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl())


# --- connections that can be woken up --------------------------------------------------------------------


def _opener(watch: Watch, own: tuple[str, ...]) -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_Plain(watch), _Tls(watch), _Redirects(own))


class _Woken(http.client.HTTPConnection):
    """A connection that another thread can end, by its watch."""

    watch: Watch

    def connect(self) -> None:
        super().connect()
        self.watch.interruptible(partial(_shut, self.sock))


class _WokenTls(http.client.HTTPSConnection):
    watch: Watch

    def connect(self) -> None:
        super().connect()
        self.watch.interruptible(partial(_shut, self.sock))


def _shut(sock: socket.socket) -> None:
    """Wake whoever reads from it. Not by way of TLS, which the reading thread is in the middle of."""
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


class _Plain(urllib.request.HTTPHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._made = _made(_Woken, watch)

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, req)


class _Tls(urllib.request.HTTPSHandler):
    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._made = _made(_WokenTls, watch)

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(self._made, req, context=ssl.create_default_context())


def _made(kind: type[_Woken] | type[_WokenTls], watch: Watch) -> Any:
    def make(host: str, **more: Any) -> http.client.HTTPConnection:
        connection = kind(host, **more)
        connection.watch = watch
        return connection

    return make


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but not from https to http, and takes our own headers to no other host."""

    def __init__(self, own: tuple[str, ...]) -> None:
        self._own = own

    def redirect_request(  # noqa: PLR0917 - the library's own way
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        del msg, headers
        old, new = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        if new.scheme not in ("https", old.scheme):
            fp.close()
            raise ValueError(f"it redirects to {shown(new.geturl())}, by a way that is not as safe")
        if code not in (301, 302, 303, 307, 308):
            return None
        # The proxy's handler adds its header again, where there is a proxy.
        kept = {name: value for name, value in req.headers.items() if name != "Proxy-authorization"}
        following = urllib.request.Request(new.geturl(), headers=kept, method=req.get_method())  # noqa: S310
        following.origin_req_host = req.origin_req_host
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            for name in self._own:
                following.remove_header(name.capitalize())
        return following


# --- what headers say ------------------------------------------------------------------------------------


def _validator(headers: Message) -> str:
    """As If-Range takes it: a strong entity tag, else the time of the last change."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _whole_size(answer: http.client.HTTPResponse) -> int | None:
    if answer.status == 206:
        return _range(answer.headers)[1]
    length = answer.headers.get("Content-Length", "")
    chunked = "Transfer-Encoding" in answer.headers
    return int(length) if length.isascii() and length.isdecimal() and not chunked else None


def _range(headers: Message) -> tuple[int | None, int | None]:
    """Where the bytes begin, and how many there are in all."""
    unit, _, rest = headers.get("Content-Range", "").partition(" ")
    span, _, total = rest.partition("/")
    first = span.partition("-")[0]
    numbers = [int(one) if one.isascii() and one.isdecimal() else None for one in (first, total)]
    return (numbers[0], numbers[1]) if unit == "bytes" else (None, None)


# --- what went wrong -------------------------------------------------------------------------------------


def _refusal(url: str, error: urllib.error.HTTPError) -> Refused:
    code = error.code
    heals = code >= 500 or code in PASSING
    if code in ABSENT:
        remedy = "correct the reference, or put the model there"
    elif code in (401, 403):
        remedy = "see that whoever runs the manager may read it there: a token, an agreement, an address"
    else:
        remedy = "wait until the source works again" if heals else "look at the reference and the source"
    refusal = Refused(
        f"{shown(url)} is answered with {code} {error.reason}", remedy, heals=heals, unasked=heals
    )
    refusal.code = code
    return refusal


def _unreachable(url: str, error: Exception, timeout: float) -> Trouble:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return Trouble(
            f"{shown(url)} stalled: nothing came for {timeout:g} s", AGAIN, heals=True, unasked=True
        )
    if isinstance(reason, ssl.SSLCertVerificationError):
        words = f"the certificate of {shown(url)} is not trusted: {reason.verify_message}"
        return Trouble(words, "correct the URL, or the host's trusted certificates", heals=False)
    if isinstance(reason, OSError | http.client.HTTPException):
        words = f"{shown(url)} cannot be read: {_words(reason)}"
        return Trouble(words, "look at the source and the way to it", heals=True, unasked=True)
    return Trouble(f"{shown(url)}: {reason}", "correct the URL", heals=False)


def _words(reason: Exception) -> str:
    return (reason.strerror if isinstance(reason, OSError) else None) or f"{type(reason).__name__}: {reason}"
