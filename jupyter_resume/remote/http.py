"""HTTP as a remote needs it: JSON posts, uploads and downloads, tried again while that can help.

The key goes to the server's own address and to nothing else; proxies and certificate authorities come from the
environment. What fails is a RemoteError, see `answers`.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.metadata
import os
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import urljoin, urlsplit

from ..errors import FileUnstable, RemoteError, RemoteGone, RemoteMalformed, RemoteRefused, RemoteUnreachable
from ..store import lines
from . import answers
from .bodies import Upload, json_body
from .patience import Clock, Patience, Sleep

if TYPE_CHECKING:
    import requests

_T = TypeVar("_T")
_MOST_JSON = 128 << 20  # bytes of an answer, unpacked
_MOST_WORDS = 64 << 10  # of one that is no success
_CHUNK = 1 << 20
_HOPS = 5


@dataclass(frozen=True)
class Timeouts:
    """Seconds that one attempt waits for a connection, and for the next byte of an answer."""

    connect: float = 10.0
    read: float = 30.0


@dataclass(frozen=True)
class Answer:
    """A JSON object and the headers that it came with."""

    value: dict[str, Any]
    headers: Mapping[str, str]


class Http:
    """One server, one key. Threads may share it: each has its own connections."""

    def __init__(
        self,
        base_url: str,
        key: str | None,
        patience: float = 30.0,
        timeouts: Timeouts | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.base_url = base_url
        self._key = key
        self._seconds, self._clock, self._sleep, self._chance = patience, clock, sleep, chance
        self._timeouts = timeouts or Timeouts()
        self.lacks: frozenset[str] = frozenset()  # fields that the server is known to be too old for
        self._local = threading.local()

    def __repr__(self) -> str:
        return f"<Http {self.base_url}>"

    def patience(self) -> Patience:
        """What one call of a remote has; pass it to each of the call's requests."""
        return Patience(self._seconds, self._clock, self._sleep, self._chance)

    def post(self, path: str, value: object, patience: Patience, also: Collection[int] = (), slow: float = 1) -> Answer:
        """Post JSON and read a JSON object. ``also``: statuses that are tried again too; ``slow``: longer timeouts."""
        url, body = self.base_url + path, json_body(value)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}

        def attempt() -> Answer:
            with self._request("POST", url, patience, headers, body, keyed=True, slow=slow) as response:
                data = self._body(url, response, patience, also)
            try:
                said = lines.load(data)
            except (ValueError, RecursionError):
                said = None
            if not isinstance(said, dict):
                raise answers.no_data(url, response.headers, data)
            return Answer(said, response.headers)

        return self._until_answered(attempt, patience)

    def put(self, url: str, source: BinaryIO, size: int, headers: Mapping[str, str], patience: Patience) -> None:
        """Upload ``size`` bytes of an open file, without a key: the address is the credential."""
        farthest = 0

        def moved(count: int) -> None:
            nonlocal farthest
            if count >= farthest + _CHUNK:  # what is less may be on its way yet, in the system's buffers
                farthest = count
                patience.renew()

        def attempt() -> None:
            source.seek(0)
            body = Upload(source, size, moved) if size else b""
            sent = {**headers, "Content-Length": str(size)}
            with self._request("PUT", url, patience, sent, body, keyed=False, slow=10) as response:
                words = self._body(url, response, patience)
                if answers.is_page(response.headers, words):  # a proxy's: the file is not there
                    raise answers.no_data(url, response.headers, words)

        self._until_answered(attempt, patience)

    @contextlib.contextmanager
    def get(self, url: str, patience: Patience, start: int = 0) -> Iterator[Download]:
        """Begin one attempt at a download from byte ``start`` on; ``patience`` has only its timeouts."""
        headers = {"Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        at, keyed = url, True
        for _ in range(_HOPS + 1):
            keyed = keyed and self.is_ours(at)
            with self._request("GET", at, patience, headers, None, keyed) as response:
                if response.status_code not in (301, 302, 303, 307, 308):
                    if response.status_code not in (200, 206):
                        words = self._body(at, response, patience)
                        raise answers.refusal(at, response.status_code, response.headers, words)
                    yield Download(self, at, response)
                    return
                to = response.headers.get("Location", "")
                try:
                    at, before = urljoin(at, to), at
                    parts = urlsplit(at)
                    sound = parts.scheme in ("http", "https") and bool(parts.hostname) and bool(to)
                except ValueError:
                    sound = False
                if not sound:
                    raise RemoteMalformed(
                        f"{answers.host_of(url)} sends a download on to no address: tell whoever runs the server.",
                        status=response.status_code,
                    )
                if urlsplit(before).scheme == "https" and parts.scheme == "http":
                    raise RemoteRefused(
                        f"{answers.host_of(url)} sends a download on to {answers.place_of(at)}, which anybody on the "
                        "way can read and change: tell whoever runs the server.",
                        status=response.status_code,
                    )
        raise RemoteMalformed(
            f"{answers.host_of(url)} sends a download on and on, the last time to {answers.place_of(at)}: check "
            "WANDB_BASE_URL.",
            status=response.status_code,
        )

    def absolute(self, url: str) -> str:
        """An address that the server gave, complete. RemoteMalformed for one that is none."""
        try:
            if url.startswith("/") and not url.startswith("//"):  # with the path of the server's address, or without
                path = urlsplit(self.base_url).path
                url = self.base_url.removesuffix(path if url.startswith(f"{path}/") else "") + url
            url = urljoin(self.base_url + "/", url)
            parts = urlsplit(url)
            if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and url.isprintable():
                return url
        except ValueError:
            pass
        raise RemoteMalformed(
            f"{answers.host_of(self.base_url)} gave {answers.place_of(url)!r} as a file's address, which is none: "
            "tell whoever runs the server."
        )

    def is_ours(self, url: str) -> bool:
        """Whether an address is the server's own: scheme, host, port, and below its path."""
        ours, parts = urlsplit(self.base_url), urlsplit(url)
        try:
            same = _origin(ours) == _origin(parts)
        except ValueError:
            return False
        path = re.sub(r"%2e", ".", parts.path, flags=re.IGNORECASE).replace("\\", "/")
        below = path == ours.path or path.startswith(ours.path.rstrip("/") + "/")
        return same and below and not parts.username and ".." not in path.split("/")

    # Attempts

    def _until_answered(self, attempt: Callable[[], _T], patience: Patience) -> _T:
        """Try until there is an answer that stands, or patience is used up."""
        while True:
            try:
                return attempt()
            except RemoteUnreachable as error:
                if error.final or not patience.pause(error.retry_after):
                    raise

    @contextlib.contextmanager
    def _request(
        self,
        method: str,
        url: str,
        patience: Patience,
        headers: Mapping[str, str],
        body: object,
        keyed: bool,
        slow: float = 1,
    ) -> Iterator[requests.Response]:
        """One request, its answer's body yet to be read. Raises RemoteError for what goes wrong before the answer."""
        wait = patience.timeout(self._timeouts.read) * slow
        response = self._ours(
            url,
            wait,
            lambda: self._session.request(
                method,
                url,
                data=body,  # type: ignore[arg-type]
                headers=dict(headers),
                auth=_Key(self._key if keyed else None),
                timeout=(patience.timeout(self._timeouts.connect), wait),
                allow_redirects=False,
                stream=True,
            ),
        )
        try:
            yield response
        finally:
            response.close()

    def _body(self, url: str, response: requests.Response, patience: Patience, also: Collection[int] = ()) -> bytes:
        """The body of a success, whole. Raises the error for any other status."""
        good = 200 <= response.status_code < 300
        most = _MOST_JSON if good else _MOST_WORDS
        until = self._clock() + max(patience.left, self._timeouts.read)
        pieces: list[bytes] = []
        size = 0
        for piece in self.pieces(url, response, until):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                break
        data = b"".join(pieces)
        if good and size <= most:
            return data
        if good:
            raise RemoteMalformed(
                f"{answers.host_of(url)} answered with more than {most >> 20} MiB, which makes no sense: check that "
                "WANDB_BASE_URL is a W&B server's address."
            )
        words = self.without_key(data[:most].decode("utf-8", "replace")).encode()
        error = answers.refusal(url, response.status_code, response.headers, words)
        if response.status_code in also and not isinstance(error, (RemoteUnreachable, RemoteGone)):
            raise RemoteUnreachable(str(error), status=response.status_code, retry_after=None)
        raise error

    def pieces(self, url: str, response: requests.Response, until: float | None = None) -> Iterator[bytes]:
        """The body as it comes. RemoteUnreachable if it is cut off, or not there by ``until`` (of the clock)."""
        raw = response.raw
        expected = response.headers.get("Content-Length", "")
        plain = not response.headers.get("Content-Encoding")
        got = 0

        def some() -> bytes:
            if hasattr(raw, "read1"):  # of urllib3 2: what is there by now, where read() waits for all of it
                return bytes(raw.read1(_CHUNK, decode_content=True) or b"")
            return bytes(raw.read(16 << 10, decode_content=True))

        while True:
            piece = self._ours(url, self._timeouts.read, some)
            if not piece:
                break
            got += len(piece)
            yield piece
            if until is not None and self._clock() > until:
                raise RemoteUnreachable(
                    f"{answers.host_of(url)} answers too slowly: try again later.", retry_after=None
                )
        if plain and expected.isdigit() and got < int(expected):
            raise RemoteUnreachable(
                f"{answers.host_of(url)} cannot be reached (the connection was cut): check the network and "
                f"WANDB_BASE_URL.",
                retry_after=None,
            )

    def _ours(self, url: str, waited: float, act: Callable[[], _T]) -> _T:
        """The boundary: whatever requests and what is below it raise becomes a RemoteError here."""
        try:
            return act()
        except (FileUnstable, RemoteError):
            raise
        except Exception as error:  # of five libraries, with no root in common
            failure = answers.unreachable(url, error, waited)
        raise failure  # not from within the handler: the foreign exception holds addresses and headers

    def without_key(self, text: str) -> str:
        """Somebody else's words, should they quote the key, or the header that it was sent in."""
        if self._key is None:
            return text
        return text.replace(self._key, "***").replace(_code(self._key), "***")

    @property
    def _session(self) -> requests.Session:
        import requests

        mine: tuple[int, requests.Session] | None = getattr(self._local, "session", None)
        if mine is None or mine[0] != os.getpid():  # a fork must not share its parent's connections
            session = requests.Session()
            # requests would look at where a redirect leads, and read its whole body, also if it is not to follow it
            session.get_redirect_target = lambda response: None  # type: ignore[method-assign,assignment]
            session.headers["User-Agent"] = f"jupyter-resume/{importlib.metadata.version('jupyter-resume')}"
            mine = self._local.session = (os.getpid(), session)
        return mine[1]


class Download:
    """A download that has begun; ``start`` is the byte that it begins with (None: the server does not say)."""

    def __init__(self, http: Http, url: str, response: requests.Response) -> None:
        self._http, self._url, self._response = http, url, response
        self.headers: Mapping[str, str] = response.headers
        part = re.match(r"\s*bytes\s+(\d{1,18})-", response.headers.get("Content-Range", ""))
        self.start = 0 if response.status_code == 200 else int(part[1]) if part else None

    def __iter__(self) -> Iterator[bytes]:
        return self._http.pieces(self._url, self._response)

    @property
    def is_page(self) -> bool:
        """Whether the server calls it a web page."""
        return "html" in self.headers.get("Content-Type", "").lower()


class _Key:
    """Basic authentication with a key, or none at all: without an object here requests would look into netrc."""

    def __init__(self, key: str | None) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key is not None:
            request.headers["Authorization"] = f"Basic {_code(self._key)}"
        return request


def _code(key: str) -> str:
    return base64.b64encode(f"api:{key}".encode()).decode()


def _origin(parts: Any) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
