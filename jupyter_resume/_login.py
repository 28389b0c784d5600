"""Login: an API key checked with its server, then kept where W&B's SDK keeps it."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from . import keys, notices
from .errors import InvalidInput, KeyRejected
from .remote.base import Account

Ask = Callable[[str], str]


@dataclass(frozen=True, repr=False)
class LoggedIn:
    """Whose key it is at ``base_url``; ``kept`` is the file that it was written to, None if it was there already."""

    base_url: str
    account: Account
    kept: Path | None = None

    @property
    def entity(self) -> str:
        """The entity that is meant where none is given."""
        return self.account.entity

    @property
    def username(self) -> str | None:
        """The person's name, if the server says it."""
        return self.account.username

    def __repr__(self) -> str:
        who = self.username or self.entity
        of = "" if who == self.entity else f", entity {self.entity}"
        where = f"the key is kept in {self.kept}" if self.kept else "by the key that is configured"
        return f"logged in to {self.base_url} as {who}{of}; {where}"


def login(
    key: str | None = None,
    host: str | None = None,
    *,
    renew: bool = False,
    ask: Ask | None = None,
    patience: float = 20.0,
    environ: Mapping[str, str] = os.environ,
) -> LoggedIn:
    """Check an API key with its server and keep it in the netrc file.

    Without ``key`` the one that is configured is checked; if there is none, or it is not good any more, it is asked
    for without an echo where somebody can answer; with ``renew`` always. ``host`` is the server's address, else
    ``WANDB_BASE_URL``. Raises KeyRejected, InvalidInput, RemoteUnreachable; nothing is kept then.

    >>> login(key="...", host="http://127.0.0.1:8642")  # doctest: +SKIP
    logged in to http://127.0.0.1:8642 as ada; the key is kept in /home/ada/.netrc
    """
    base_url = keys.read_base_url(host or environ.get("WANDB_BASE_URL") or keys.DEFAULT_BASE_URL)
    ask = ask or prompt()
    if key is None and not renew and (known := keys.find(base_url, environ)) is not None:
        try:
            return LoggedIn(base_url, _account(base_url, known, patience))
        except (KeyRejected, InvalidInput) as error:
            if ask is None:
                raise
            notices.tell(str(error))
    if key is None:
        if ask is None:
            raise InvalidInput(
                f"There is no API key for {base_url}, and nobody to ask: pass login(key=...), run 'jupyter resume "
                "login' in a terminal, or set WANDB_API_KEY."
            )
        key = ask(f"API key for {base_url} (from {_page(base_url)}): ")
    key = keys.check_form(key)
    account = _account(base_url, key, patience)
    kept = keys.store(base_url, key, environ)
    if environ.get("WANDB_API_KEY", "").strip() not in ("", key):
        notices.tell(f"WANDB_API_KEY is set to another key and comes before the one in {kept}: unset it")
    return LoggedIn(base_url, account, kept)


def prompt() -> Ask | None:
    """How to ask somebody for a secret; None where nobody could answer, as in a batch job."""
    replaced = getattr(getpass.getpass, "__module__", "getpass") != "getpass"  # a kernel asks through its frontend
    if not replaced and not (sys.stdin and not sys.stdin.closed and sys.stdin.isatty()):
        return None

    def ask(text: str) -> str:
        try:
            return getpass.getpass(text)
        except (EOFError, NotImplementedError):  # a kernel that runs for nbconvert or papermill has no frontend
            raise InvalidInput(
                "Nobody can be asked for the API key here: run 'jupyter resume login' in a terminal, or set "
                "WANDB_API_KEY."
            ) from None

    return ask


def _page(base_url: str) -> str:
    """Where a person finds a key."""
    if any(base_url == f"https://{host}" for host in keys.CLOUD_HOSTS):
        return "https://wandb.ai/authorize"
    return f"{base_url}/authorize, or 'jupyter resume serve --make-key'"


def _account(base_url: str, key: str, patience: float) -> Account:
    from .remote.wandb import Wandb

    return Wandb(base_url, key, patience=patience).account()
