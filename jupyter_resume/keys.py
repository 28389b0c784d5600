"""API keys: the environment or a netrc file, where W&B's SDK keeps them too, and nowhere else.

A key is in no message, no output and no file of this project.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from . import notices
from .errors import InvalidInput, StoreUnwritable
from .netrc_text import with_key

DEFAULT_BASE_URL = "https://api.wandb.ai"

CLOUD_HOSTS = frozenset({"api.wandb.ai", "api.forge.coreweave.com"})  # two names of one server; one key is for both
_PAGES = frozenset({"wandb.ai", "www.wandb.ai", "app.wandb.ai"})
_told: set[str] = set()


def read_base_url(text: object) -> str:
    """A server's address as given, without a slash at its end. Raises InvalidInput, which never repeats a password.

    >>> read_base_url("https://api.wandb.ai/")
    'https://api.wandb.ai'
    """
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput("The server's address is empty or not a string: give one like https://api.wandb.ai.")
    text = text.strip()
    shown = "The server's address" if "@" in text else f"The server's address {text[:80]!r}"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InvalidInput(f"{shown} has no valid host and port: give one like https://host:8642.") from None
    if parts.scheme.lower() not in ("http", "https") or not host or re.search(r"[^!-~]|[\\<>\"^`{|}]", text):
        raise InvalidInput(f"{shown} is not http:// or https:// and a host: give one like https://host:8642.")
    if "@" in parts.netloc:
        raise InvalidInput(
            "The server's address holds a name or a password: leave them out, and set WANDB_API_KEY or log in."
        )
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise InvalidInput(f"{shown} goes on after its path with ? or #: leave that out.")
    if host in _PAGES:
        raise InvalidInput(f"{shown} is W&B's pages for people: its API is at {DEFAULT_BASE_URL}.")
    if host in CLOUD_HOSTS and parts.scheme.lower() == "http":
        raise InvalidInput(f"{shown} would send the key readable for everyone on the way: write https://.")
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def check_form(key: object) -> str:
    """The key without white space around it. Raises InvalidInput for what can be no key, and does not repeat it."""
    if not isinstance(key, str) or not key.strip():
        raise InvalidInput("The API key is empty or not a string: copy it from the server's page for API keys.")
    key = key.strip()
    if not key.isprintable() or re.search(r"\s", key):
        raise InvalidInput("The API key has a space or a control character within: copy it again, as one word.")
    return key


def find(base_url: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """The key for a server: ``WANDB_API_KEY``, else the netrc file's; None if there is none.

    netrc names a server with its port, as SDK 0.31 writes it, or without, as older ones do.
    A ``default`` entry is some other service's password and is not used.
    """
    if key := environ.get("WANDB_API_KEY", "").strip():
        return key
    path = netrc_path(environ)
    if path is None:
        return None
    import netrc

    try:
        hosts = netrc.netrc(path).hosts
    except FileNotFoundError:
        return None
    except (netrc.NetrcParseError, OSError, ValueError) as error:  # what a parser says could quote a password
        if isinstance(error, PermissionError) and not os.path.lexists(path):
            return None  # the home is somebody else's, and whether there is such a file cannot be seen
        line = getattr(error, "lineno", None)
        why = f"line {line}" if line else getattr(error, "strerror", None) or "not text"
        _tell_once(f"no API key could be read from {path} ({why}): mend it, or set WANDB_API_KEY")
        return None
    for machine in _machines(base_url):
        if machine in hosts and machine != "default" and hosts[machine][2]:
            return hosts[machine][2]
    return None


def store(base_url: str, key: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Keep a key in the netrc file, readable by its owner alone; every other byte of the file stays. Its path."""
    key = check_form(key)
    if key.startswith("#") or re.search(r"[\"'\\]", key):
        raise InvalidInput("The API key has a quote, a backslash or a leading #, which netrc cannot hold: "
                           "set WANDB_API_KEY instead.")  # fmt: skip
    path = netrc_path(environ)
    if path is None:
        raise StoreUnwritable("There is no home folder for a netrc file: set WANDB_API_KEY, or NETRC to a file.")
    try:
        real = Path(os.path.realpath(path))
        try:
            text = real.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            text = ""
        _replace(real, with_key(text, urlsplit(base_url).netloc, key).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise StoreUnwritable(
            f"The API key could not be kept in {path} ({error.strerror}): make it writable, or set WANDB_API_KEY."
        ) from None
    return path


def netrc_path(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The netrc file, there or not: ``$NETRC``, else ``.netrc`` or ``_netrc`` of the home folder."""
    try:
        if named := environ.get("NETRC"):
            return Path(named).expanduser()
        home = Path.home()
    except RuntimeError:
        return None
    usual = [home / ".netrc", home / "_netrc"]
    for path in usual:
        with contextlib.suppress(OSError):
            if path.exists():
                return path
    return usual[sys.platform == "win32"]


def _machines(base_url: str) -> Iterator[str]:
    """The names that a server may have in a netrc file, best first."""
    parts = urlsplit(base_url)
    yield parts.netloc
    if parts.hostname:
        yield parts.hostname
        if parts.hostname in CLOUD_HOSTS:
            yield from sorted(CLOUD_HOSTS - {parts.hostname})


def _replace(path: Path, content: bytes) -> None:
    """Write the file whole or not at all, for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.{os.urandom(6).hex()}")
    try:
        with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise


def _tell_once(text: str) -> None:
    if text not in _told:
        _told.add(text)
        notices.tell(text)
