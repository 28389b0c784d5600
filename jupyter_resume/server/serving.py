"""``jupyter resume serve``: opens the port, tells clients how to come here, and leaves in order."""

from __future__ import annotations

import argparse
import contextlib
import ipaddress
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from ..errors import InvalidInput, ResumeError, StoreError
from ..notices import tell
from ..store.home import Store
from .access import Keys
from .app import Serving, application, to_stderr
from .hosting import Hosting
from .limits import Limits
from .tickets import Tickets

_PATIENCE = 5  # seconds that requests under way have when the server is told to stop


def serve(asked: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Raises ResumeError if it must not or cannot listen."""
    store = Store(Path(asked.home).expanduser().absolute() if asked.home else None)
    keys = Keys(store.home / "server" / "keys.json")
    local = is_loopback(asked.host)
    if not local and not keys.all():
        raise InvalidInput(
            f"Without keys the server listens on 127.0.0.1 only, and not on {asked.host}: make one with "
            "'jupyter resume serve --make-key NAME'."
        )
    if asked.tls_key and not asked.tls_cert:
        raise InvalidInput("--tls-key is of no use without --tls-cert: give both.")
    _allow_many_files()
    with _writing(store):
        tickets = Tickets(store.home / "server" / "secret")
    hosting = Hosting(store, tell=tell)
    serving = Serving(
        hosting,
        keys,
        tickets,
        Limits(asked.rate),
        trusting=local,
        address=asked.url.rstrip("/") if asked.url else None,
        log=(lambda line: None) if asked.quiet else to_stderr,
    )
    with _listening(asked.host, asked.port) as port:
        scheme = "https" if asked.tls_cert else "http"
        config = uvicorn.Config(
            application(serving),
            log_level="warning",
            log_config=None,  # uvicorn's own closes the handlers that this process has
            access_log=False,
            server_header=False,
            lifespan="off",
            ws="none",
            timeout_graceful_shutdown=_PATIENCE,
            timeout_keep_alive=75,
            ssl_certfile=asked.tls_cert,
            ssl_keyfile=asked.tls_key,
            proxy_headers=False,
        )
        try:
            config.load()
        except OSError as error:  # ssl's errors are some too
            raise InvalidInput(
                f"--tls-cert and --tls-key cannot be used ({error.strerror or error}): give the PEM files of a "
                "certificate chain and of its key."
            ) from error
        server = _Server(config, lambda: _announce(serving, keys, f"{scheme}://{_named(asked.host, port)}"))
        for sign in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them once more when it is done
            signal.signal(sign, lambda *_: setattr(server, "should_exit", True))
        with _swept(hosting):
            server.run(sockets=[port])
    return 0


def _allow_many_files() -> None:
    """Each run that is being written has a file open."""
    if sys.platform != "win32":
        import resource

        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))


class _Server(uvicorn.Server):
    """Says so when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: object) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and callable(self._ready):
            self._ready()


def _announce(serving: Serving, keys: Keys, address: str) -> None:
    known = keys.all()
    print(f"serving {serving.hosting.store.home} at {address} (stop with Ctrl-C); a client needs:", flush=True)
    print(f"  export WANDB_BASE_URL={serving.address or address}", flush=True)
    if known:
        there = "is one" if len(known) == 1 else f"are {len(known)}"
        print(f"  export WANDB_API_KEY=...   # a key made with --make-key: there {there}", flush=True)
    else:
        print(f"  export WANDB_API_KEY={'0' * 40}", flush=True)
        print("no key was made: any key of that form is taken, as entity 'local', from this machine only", flush=True)


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _named(host: str, port: socket.socket) -> str:
    """Host and port as clients write them; of all addresses of this machine, its name."""
    name = host.strip("[]")
    if name in ("0.0.0.0", "::"):
        name = socket.gethostname()
    return f"[{name}]:{port.getsockname()[1]}" if ":" in name else f"{name}:{port.getsockname()[1]}"


@contextlib.contextmanager
def _writing(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"{store.home / 'server'} cannot be written to ({error.strerror}): give another folder with --home."
        ) from error


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    name = host.strip("[]")
    # The protocol is named because asyncio turns Nagle's delays off only for what says it is TCP.
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((name, port))
        except (OSError, OverflowError) as error:
            raise ResumeError(f"Cannot listen on {host} port {port} ({error}): choose another with --port.") from None
        yield listener


@contextlib.contextmanager
def _swept(hosting: Hosting) -> Iterator[None]:
    """Tend the runs once a second meanwhile, and let them go at the end."""
    ended = threading.Event()

    def work() -> None:
        while not ended.wait(1.0):
            try:
                hosting.sweep()
            except Exception as error:
                to_stderr(f"tending the runs failed: {type(error).__name__}: {error}")

    sweeper = threading.Thread(target=work, name="jupyter-resume-sweeper", daemon=True)
    sweeper.start()
    try:
        yield
    finally:
        ended.set()
        sweeper.join(timeout=10)
        hosting.close()


def manage_keys(asked: argparse.Namespace) -> int:
    """Make, list or revoke keys."""
    store = Store(Path(asked.home).expanduser().absolute() if asked.home else None)
    keys = Keys(store.home / "server" / "keys.json")
    if asked.make_key is not None:
        with _writing(store):
            text = keys.make(asked.make_key, asked.role, asked.entity)
        print(f"the key {asked.make_key!r} ({asked.role}, entity {asked.entity}); it is shown this once:\n{text}")
    elif asked.revoke_key is not None:
        keys.revoke(asked.revoke_key)
        print(f"the key {asked.revoke_key!r} is valid no more")
    else:
        for key in keys.all():
            made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.made))
            print(f"{key.name}\t{key.role}\tentity {key.entity}\tmade {made}")
    return 0
