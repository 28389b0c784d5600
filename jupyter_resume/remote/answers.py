"""What a server's answers and a network's failures are in our words: the one boundary to foreign exceptions.

No message holds the key, or the query of an address (a signed address is a secret too).
"""

from __future__ import annotations

import errno
import json
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import KeyRejected, RemoteError, RemoteGone, RemoteMalformed, RemoteRefused, RemoteUnreachable
from ..wording import short
from .patience import retry_after

_FOR_NOW = frozenset({408, 425, 429})  # and every 5xx but 501
_WIDEST = 300  # characters of a server's words


def host_of(url: str) -> str:
    """Host and port of an address: what a message may show of it."""
    try:
        return urlsplit(url).netloc.rpartition("@")[2] or "the server"
    except ValueError:
        return "the server"


def place_of(url: str) -> str:
    """An address without its query, short."""
    return short(re.sub(r"[?#].*", "", url, flags=re.DOTALL).rpartition("@")[2], 120)


def is_for_now(status: int) -> bool:
    """Whether the same request may be answered otherwise later."""
    return status in _FOR_NOW or (status >= 500 and status != 501)


def words_of(body: bytes) -> str:
    """The server's own words in the body of a refusal: ``errors[].message`` or ``error``; empty if it has none."""
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return _words_of_storage(body)
    if not isinstance(said, dict):
        return ""
    if isinstance(said.get("errors"), list) and (messages := messages_of(said["errors"])):
        return messages
    for name in ("error", "message", "detail"):
        word = said.get(name)
        if isinstance(word, dict):
            word = word.get("message")
        if isinstance(word, str) and word.strip():
            return clean(word)
    return ""


def _words_of_storage(body: bytes) -> str:
    """The words of storage in the manner of S3: a code, and mostly a message, in XML."""
    found = re.search(
        rb"<Error>.*?<Code>([^<]{1,100})</Code>(?:\s*<Message>([^<]*)</Message>)?", body[:4096], re.DOTALL
    )
    said = (part.decode("utf-8", "replace").strip() for part in found.groups() if part) if found else ()
    return clean(": ".join(filter(None, said)))


def messages_of(errors: list[Any]) -> str:
    """The messages of GraphQL errors, each once."""
    found = (error.get("message") if isinstance(error, dict) else error for error in errors[:20])
    return clean("; ".join(dict.fromkeys(clean(text) for text in found if isinstance(text, str) and text.strip())))


def clean(text: str) -> str:
    """One line of somebody else's words, bounded, without the queries of addresses in it."""
    lines = text.strip().splitlines() or [""]
    return short(re.sub(r"(\bhttps?://[^\s?#]*)[?#]\S*", r"\1", lines[0][:4000]), _WIDEST)


def is_page(headers: Mapping[str, str], body: bytes) -> bool:
    """Whether it is a web page, as of a proxy; storage answers in XML."""
    kind, start = headers.get("Content-Type", "").lower(), body.lstrip()[:6].lower()
    return "html" in kind or (start[:1] == b"<" and "xml" not in kind and start not in (b"<?xml ", b"<error"))


def was_deleted(words: str) -> bool:
    """Whether a server says that a run of this id was there and is not any more; W&B gives no id out twice."""
    return re.search(r"(?i)previously (created and )?deleted", words) is not None


def deleted(url: str, words: str, status: int | None = None) -> RemoteGone:
    """The error for a run that somebody has deleted there."""
    return RemoteGone(
        f"{host_of(url)} had this run and it was deleted there ({words}): restore it on its project's page, or go on "
        "with another id.",
        status=status,
    )


def refusal(url: str, status: int, headers: Mapping[str, str], body: bytes) -> RemoteError:
    """The error for a status that is no success."""
    host, words = host_of(url), words_of(body)
    if was_deleted(words):
        return deleted(url, words, status)
    heard = words or ("with a web page: a proxy?" if is_page(headers, body) else "")
    said = f" ({heard})" if heard else ""
    if 300 <= status < 400:
        where = place_of(headers.get("Location", "")) or "nowhere"
        return RemoteRefused(
            f"{host} sends this on to {where}: set WANDB_BASE_URL to the server's address itself, "
            "or log in to the proxy on the way.",
            status=status,
        )
    if status == 401:
        return KeyRejected(
            f"{host} does not accept the API key{said}: log in again (jupyter resume login), or mend "
            "WANDB_API_KEY, which comes first where it is set.",
            status=status,
            words=heard,
        )
    if status == 403:
        return KeyRejected(
            f"{host} does not allow this with the API key in use{said}: check the entity and the key's rights, or log "
            "in with another key (jupyter resume login).",
            status=status,
            words=heard,
        )
    if status in (404, 410):
        return RemoteGone(
            f"{host} does not know this{said or f' (HTTP {status})'}: check entity, project and run id, and "
            "WANDB_BASE_URL.",
            status=status,
            words=heard,
        )
    if is_for_now(status):
        wait = retry_after(headers)
        what = "asks to be left alone for now" if status == 429 else "cannot answer at the moment"
        again = "try again later" if wait is None else f"try again in {wait:.0f} s"
        return RemoteUnreachable(f"{host} {what} (HTTP {status}{words and ': ' + words}): {again}.",
                                 status=status, retry_after=wait)  # fmt: skip
    if status < 400:
        return RemoteMalformed(f"{host} answered with HTTP {status}, which makes no sense here: {_ADDRESS}.",
                               status=status)  # fmt: skip
    why = f"HTTP {status}{words and ': ' + words}"
    return RemoteRefused(f"{host} refuses this ({why}): {_ADVICE.get(status, 'see the words of the server')}.",
                         status=status, words=heard)  # fmt: skip


_ADDRESS = "check that WANDB_BASE_URL is a W&B server's address"
_ADVICE = {
    409: "somebody else changed the run at the same time",
    413: "it is too large for the server: save it as a file, or log less at a time",
    501: "the server is too old, or is no W&B server",
}


def no_data(url: str, headers: Mapping[str, str], body: bytes) -> RemoteMalformed:
    """The error for an answer that should have been a JSON object."""
    if is_page(headers, body):
        return RemoteMalformed(
            f"{host_of(url)} answered with a web page, not with data (a proxy or login page?): {_ADDRESS}."
        )
    return RemoteMalformed(f"{host_of(url)} answered with something that is no JSON object: {_ADDRESS}.")


def unreachable(url: str, error: BaseException, waited: float) -> RemoteError:
    """The error for a failure of requests, urllib3 or below; ``waited``: seconds that an answer was waited for."""
    import ssl

    import requests

    host, links = host_of(url), list(_chain(error))
    final = _untrusted(links)
    if any(isinstance(link, requests.exceptions.ProxyError) for link in links):
        return RemoteUnreachable(
            f"The proxy on the way to {host} does not let it through: check HTTPS_PROXY and NO_PROXY.", final=final
        )
    if any(isinstance(link, ssl.SSLError) for link in links):
        said = (getattr(link, "verify_message", "") or getattr(link, "reason", "") for link in links
                if isinstance(link, ssl.SSLError))  # fmt: skip
        why = short(next(filter(None, said), ""), 80)
        return RemoteUnreachable(
            f"The connection to {host} cannot be made safe by TLS ({why or 'the handshake failed'}): check the address "
            f"and this machine's clock, or set REQUESTS_CA_BUNDLE to the server's certificate authority.",
            final=final,
        )
    if any(isinstance(link, (requests.exceptions.InvalidURL, requests.exceptions.InvalidSchema,
                             requests.exceptions.MissingSchema, requests.exceptions.InvalidHeader, UnicodeError))
           for link in links):  # fmt: skip
        return RemoteMalformed(f"{host} is no address that can be asked: {_ADDRESS}.")
    return RemoteUnreachable(f"{host} cannot be reached ({_why(links, waited)}): check the network and WANDB_BASE_URL.")


def _untrusted(links: list[BaseException]) -> bool:
    """Whether it is a TLS failure that trying again will not change."""
    import ssl

    return any(
        isinstance(link, ssl.SSLCertVerificationError)
        or (isinstance(link, ssl.SSLError) and getattr(link, "reason", "") in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST"))
        for link in links
    )


def _why(links: list[BaseException], waited: float) -> str:
    import requests

    for link in links:
        if isinstance(link, requests.exceptions.ConnectTimeout):
            return "no connection in time"
        if isinstance(link, (requests.exceptions.ReadTimeout, TimeoutError, socket.timeout)):
            return f"no answer within {waited:.0f} s"
        if isinstance(link, socket.gaierror) or "NameResolution" in type(link).__name__:
            return "its name is not known"
        if isinstance(link, OSError) and link.errno == errno.ECONNREFUSED:
            return "the connection was refused"
        if isinstance(link, OSError) and link.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "there is no way to it"
    return "the connection was cut"


def _chain(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came from, as each library says it."""
    seen: set[int] = set()
    todo: list[object] = [error]
    while todo and len(seen) < 50:
        link = todo.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            todo += [link.__cause__, link.__context__, getattr(link, "reason", None), *link.args]
