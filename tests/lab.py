"""A real JupyterLab server on loopback, driven as a browser drives it: REST, and the kernel's websocket.

with JupyterServer(tmp_path, env={"JUPYTER_RESUME_HOME": str(home)}) as server:
    server.create_notebook("train.ipynb", ["%load_ext jupyter_resume", "%wb_init"])
    session = server.open("train.ipynb")
    results = session.run_all()
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Literal
from urllib.parse import quote

import psutil
import pytest
import requests
import websocket

Json = dict[str, Any]
PYTHON = os.environ.get("JUPYTER_RESUME_TEST_PYTHON") or sys.executable
"""The Python whose Jupyter and jupyter-resume are driven; that of another environment tests another JupyterLab."""
PREFIX = Path(sys.prefix) if sys.executable == PYTHON else Path(PYTHON).parent.parent
POLL = 0.02
"""Seconds between two looks at something that sends no event: a new process, a port being opened."""


def need(module: str) -> None:
    """Skip where the Jupyter that is driven has no such module."""
    if subprocess.run([PYTHON, "-c", f"import {module}"], stderr=subprocess.DEVNULL, check=False).returncode:
        pytest.skip(f"{module} is not installed")


class ServerGone(RuntimeError):
    """The server process ended on its own, or never came up; the message ends with its log."""


@dataclass
class Result:
    """What a cell showed: its outputs in order, with later updates of its displays applied."""

    status: Literal["running", "ok", "error", "aborted", "died"] = "running"
    stdout: str = ""
    stderr: str = ""
    error: tuple[str, str, list[str]] | None = None
    displays: list[Json] = field(default_factory=list)
    """MIME bundles of display_data and execute_result; each follows its `update_display_data`."""
    updates: int = 0
    """How many `update_display_data` messages this cell sent."""
    execution_count: int | None = None
    _shown: list[str | Json] = field(default_factory=list, repr=False)

    @property
    def text(self) -> str:
        """All that a reader sees as plain text, in order: streams, text/plain of displays, the error."""
        parts = [part if isinstance(part, str) else str(part.get("text/plain", "")) for part in self._shown]
        return "\n".join(part.rstrip("\n") for part in parts if part)

    def check(self) -> Result:
        """Itself when the cell went well, else an AssertionError that shows what the cell showed."""
        assert self.status == "ok", f"the cell's status is {self.status!r}; it showed:\n{self.text}"
        return self

    def _stream(self, name: str, text: str) -> None:
        if name == "stderr":
            self.stderr += text
        else:
            self.stdout += text
        if self._shown and isinstance(self._shown[-1], str):
            self._shown[-1] += text
        else:
            self._shown.append(text)

    def _display(self, bundle: Json) -> None:
        self.displays.append(bundle)
        self._shown.append(bundle)

    def _fail(self, content: Json) -> None:
        self.error = (content["ename"], content["evalue"], content["traceback"])
        text = "\n".join(content["traceback"]) or f"{content['ename']}: {content['evalue']}"
        self._shown.append({"text/plain": text})


@dataclass
class Execution:
    """A cell that has been sent and may still run."""

    session: Session
    message_id: str
    result: Result = field(default_factory=Result)
    _replied: Json | None = None
    _idle: bool = False

    @property
    def done(self) -> bool:
        """Whether the reply and every output are in, or the kernel died under it."""
        return self.result.status != "running"

    def wait_for(self, text: str, timeout: float = 60) -> Result:
        """Return as soon as the cell has shown `text`; the cell goes on."""
        self._await(lambda: text in self.result.text or self.done, timeout, f"output of {text!r}")
        assert text in self.result.text, f"ended ({self.result.status}) before {text!r}:\n{self.result.text}"
        return self.result

    def wait(self, timeout: float = 60) -> Result:
        """Return when the cell has ended, in whatever way."""
        self._await(lambda: self.done, timeout, "the cell's end")
        return self.result

    def _await(self, true: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            self.session.wait_until(true, timeout, what)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the cell has shown so far:\n{self.result.text}") from None

    def _receive(self, channel: str, kind: str, content: Json) -> None:
        if channel == "shell" and kind == "execute_reply":
            self._replied = content
        elif kind == "status" and content["execution_state"] == "idle":
            self._idle = True
        elif kind == "stream":
            self.result._stream(content["name"], content["text"])
        elif kind in ("display_data", "execute_result"):
            self.result._display(content["data"])
        elif kind == "update_display_data":
            self.result.updates += 1
        elif kind == "error":
            self.result._fail(content)
        if self._replied is not None and self._idle and not self.done:
            self.result.execution_count = self._replied.get("execution_count")
            self.result.status = self._replied["status"]


class Session:
    """One open notebook: the page in the browser, with its websocket to the kernel."""

    def __init__(self, server: JupyterServer, model: Json) -> None:
        self.server = server
        self.id: str = model["id"]
        self._displays: dict[str, list[Json]] = {}
        self._executions: dict[str, Execution] = {}
        self._socket: websocket.WebSocket | None = None
        self._client = ""
        self._question = ""
        self._answered_on: set[str] = set()
        self.reload()

    @property
    def model(self) -> Json:
        """The server's own view of this session, asked anew."""
        model: Json = self.server.request("GET", f"/api/sessions/{self.id}").json()
        return model

    @property
    def path(self) -> str:
        """The notebook's path now, relative to the server's root; it follows renames."""
        path: str = self.model["path"]
        return path

    @property
    def kernel_id(self) -> str:
        """The kernel's id, which stays over restarts."""
        kernel_id: str = self.model["kernel"]["id"]
        return kernel_id

    def kernel_pid(self) -> int:
        """The pid of the kernel process itself, also while it is busy."""
        pids = self.server.kernel_pids(self.kernel_id)
        assert pids, f"no process for kernel {self.kernel_id}"
        return pids[0]

    def execute(self, code: str, cell_id: str | None = None, timeout: float = 60) -> Result:
        """Run code as a cell and return what it showed."""
        return self.start(code, cell_id).wait(timeout)

    def start(self, code: str, cell_id: str | None = None) -> Execution:
        """Send code as a cell and return at once."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": True,
        }
        metadata = {"deletedCells": [], "recordTiming": False, "trusted": True}
        message_id = self._send(
            "execute_request", content, metadata if cell_id is None else metadata | {"cellId": cell_id}
        )
        execution = Execution(self, message_id)
        self._executions[message_id] = execution
        return execution

    def run_all(self, timeout: float = 60) -> list[Result]:
        """Run the notebook's code cells in order, as "Run All" does: up to the first that fails."""
        results = []
        for cell in self.server.notebook(self.path)["cells"]:
            if cell["cell_type"] == "code":
                results.append(self.execute(cell["source"], cell["id"], timeout))
                if results[-1].status != "ok":
                    break
        return results

    def interrupt(self) -> None:
        """Interrupt the kernel, as the stop button does."""
        self.server.request("POST", f"/api/kernels/{self.kernel_id}/interrupt")

    def restart(self) -> None:
        """Restart the kernel through REST, as the menu does; returns when the new one answers."""
        self.server.request("POST", f"/api/kernels/{self.kernel_id}/restart")
        self._abandon_running()
        self.reload()

    def kill_and_wait_for_autorestart(self, timeout: float = 30) -> int:
        """SIGKILL the kernel and return the pid of the one that the server brings in its place."""
        pid = self.kernel_pid()
        os.kill(pid, signal.SIGKILL)
        return self.wait_for_autorestart(pid, timeout)

    def wait_for_autorestart(self, dead: int, timeout: float = 30) -> int:
        """Return the pid of the kernel that replaces the one of pid `dead`, once it answers."""
        kernel_id = self.kernel_id

        def replaced() -> bool:
            return any(pid != dead for pid in self.server.kernel_pids(kernel_id))

        self.wait_until(replaced, timeout, "the server's autorestart")
        self.reload(timeout)
        return self.kernel_pid()

    def reload(self, timeout: float = 60) -> None:
        """Connect anew as a new page does, and return when the kernel answers; a busy one must end first."""
        self.disconnect()
        self._client = uuid.uuid4().hex
        url = self.server.url.replace("http", "ws", 1)
        self._socket = websocket.create_connection(
            f"{url}/api/kernels/{self.kernel_id}/channels?session_id={self._client}",
            header=[f"Authorization: token {self.server.token}"],
            timeout=timeout,
            http_no_proxy=["127.0.0.1"],
        )
        self._answered_on.clear()
        self._question = self._send("kernel_info_request", {})
        # iopub is subscribed to with a delay and may miss the first answer: ask again until it has one too.
        for _ in _looks(timeout, "the kernel's answer"):
            try:
                self.wait_until(lambda: len(self._answered_on) == 2, 0.5)
            except TimeoutError:
                if "shell" in self._answered_on:
                    self._question = self._send("kernel_info_request", {})
            else:
                break

    def wait_until(self, true: Callable[[], bool], timeout: float, what: str = "a message") -> None:
        """Take in messages until `true()`, else TimeoutError; also those that come after a cell's end."""
        deadline = time.monotonic() + timeout
        while not true():
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout} s for {what}")
            self._take_one(POLL)

    def disconnect(self) -> None:
        """Close the page; the kernel goes on."""
        if self._socket is not None:
            self._socket.close(timeout=0)  # says goodbye, without awaiting the answer
            self._socket = None
        self._abandon_running()

    def shutdown(self) -> None:
        """Shut the kernel down and end the session, as "Shut Down Kernel" does."""
        self.server.request("DELETE", f"/api/sessions/{self.id}")
        self.disconnect()

    def _abandon_running(self) -> None:
        """Settle what no answer will come for any more."""
        for execution in self._executions.values():
            if not execution.done:
                execution.result.status = "died"

    def _send(self, kind: str, content: Json, metadata: Json | None = None) -> str:
        assert self._socket is not None, "the page is closed; reload() opens it again"
        message_id = uuid.uuid4().hex
        header = {
            "msg_id": message_id,
            "msg_type": kind,
            "username": "",
            "session": self._client,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "version": "5.2",
        }
        message = {
            "channel": "shell",
            "header": header,
            "parent_header": {},
            "metadata": metadata or {},
            "content": content,
            "buffers": [],
        }
        self._socket.send(json.dumps(message))
        return message_id

    def _take_one(self, timeout: float) -> None:
        assert self._socket is not None, "the page is closed; reload() opens it again"
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv()
        except websocket.WebSocketTimeoutException:
            return
        except (websocket.WebSocketException, OSError) as error:
            raise ServerGone(f"the connection broke: {error}{self.server.log_tail()}") from error
        if not data or isinstance(data, bytes):  # a close frame, or a widget's buffers
            return
        message: Json = json.loads(data)
        kind, content = message["header"]["msg_type"], message["content"]
        parent = (message.get("parent_header") or {}).get("msg_id", "")
        if kind == "status" and content["execution_state"] in ("restarting", "dead"):
            self._abandon_running()
            return
        execution = self._executions.get(parent)
        if kind in ("display_data", "update_display_data"):
            self._refresh_displays(kind, content)
        if parent == self._question and (kind == "kernel_info_reply" or message["channel"] == "iopub"):
            self._answered_on.add(message["channel"])
        if execution is not None:
            execution._receive(message["channel"], kind, content)

    def _refresh_displays(self, kind: str, content: Json) -> None:
        """Bring every display of this display id up to date, whichever cell shows it."""
        display_id = content.get("transient", {}).get("display_id")
        if display_id is None:
            return
        bundles = self._displays.setdefault(display_id, [])
        for bundle in bundles:
            bundle.clear()
            bundle.update(content["data"])
        if kind == "display_data":
            bundles.append(content["data"])


class JupyterServer:
    """A server with folders of its own; ended by its pid at the end of the `with`, or with this process."""

    def __init__(
        self,
        root: Path | str,
        env: Mapping[str, str] | None = None,
        app: Literal["jupyterlab", "notebook", "jupyter_server"] = "jupyterlab",
        heartbeat: float = 0.3,
    ) -> None:
        """`env` reaches the server and each kernel; `heartbeat`: seconds until a dead kernel is noticed."""
        self.root = Path(root).resolve()
        self.env = dict(env or {})
        self.app = app
        self.heartbeat = heartbeat
        self.token = uuid.uuid4().hex
        self.url = ""
        self._home = tempfile.TemporaryDirectory(prefix="jupyter-")
        self._process: subprocess.Popen[bytes] | None = None
        self._sessions: list[Session] = []
        self._http = requests.Session()
        self._http.trust_env = False
        self._http.headers["Authorization"] = f"token {self.token}"

    def __enter__(self) -> JupyterServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self, timeout: float = 60) -> JupyterServer:
        """Start the server and return when it answers."""
        self.root.mkdir(parents=True, exist_ok=True)
        home = Path(self._home.name)
        environment = self._environment(home)
        with (home / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [PYTHON, "-m", self.app],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._finalizer = weakref.finalize(self, _end, self._process, 0)
        info = Path(environment["JUPYTER_RUNTIME_DIR"], f"jpserver-{self.pid}.json")
        try:
            for _ in _looks(timeout, "the server's start"):
                if self._process.poll() is not None:
                    raise ServerGone(f"the server ended: code {self._process.returncode}{self.log_tail()}")
                if self._answers(info):
                    return self
        except BaseException:
            self.close(grace=0)
            raise
        raise AssertionError("unreachable")

    def close(self, grace: float = 10) -> None:
        """End the server, which shuts its kernels down first; any left after `grace` s are killed."""
        if self._process is not None:
            self._finalizer.detach()
            _end(self._process, grace)
            self._process = None
        for session in self._sessions:
            session.disconnect()
        self._sessions.clear()
        self._http.close()
        self._home.cleanup()

    def kill(self) -> None:
        """SIGKILL the server and its kernels at one go: the spot machine goes away."""
        self.close(grace=0)

    def request(self, method: str, path: str, json: Json | None = None) -> requests.Response:
        """Ask the REST API; an error status raises with the server's own message."""
        answer = self._http.request(method, self.url + path, json=json, timeout=120)
        if not answer.ok:
            said = f"{method} {path}: {answer.status_code} {answer.text[:500]}"
            raise requests.HTTPError(said, response=answer)
        return answer

    def create_notebook(self, path: str, cells: Sequence[str]) -> list[str]:
        """Write a notebook of these code cells, and return their ids."""
        ids = [str(uuid.uuid4()) for _ in cells]
        blank: Json = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
        code = [blank | {"id": cell_id, "source": cell} for cell_id, cell in zip(ids, cells, strict=True)]
        kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
        metadata = {"kernelspec": kernelspec, "language_info": {"name": "python"}}
        self.save(path, {"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": code})
        return ids

    def save(self, path: str, notebook: Json) -> None:
        """Save a notebook through the contents API, as the page does; missing folders are made."""
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        self.request("PUT", _contents(path), {"type": "notebook", "format": "json", "content": notebook})

    def notebook(self, path: str) -> Json:
        """The notebook's content as the contents API gives it."""
        content: Json = self.request("GET", _contents(path)).json()["content"]
        return content

    def open(self, path: str) -> Session:
        """Open a notebook in a page; a second page for one path shares its kernel."""
        body = {
            "path": path,
            "name": PurePosixPath(path).name,
            "type": "notebook",
            "kernel": {"name": "python3"},
        }
        session = Session(self, self.request("POST", "/api/sessions", body).json())
        self._sessions.append(session)
        return session

    def rename(self, old: str, new: str) -> None:
        """Rename or move a file; an open notebook's session is told its path, then its name, as Lab does."""
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        self.request("PATCH", _contents(old), {"path": new})
        for model in self.request("GET", "/api/sessions").json():
            if model["path"] == old:
                self.request("PATCH", f"/api/sessions/{model['id']}", {"path": new})
                self.request("PATCH", f"/api/sessions/{model['id']}", {"name": PurePosixPath(new).name})

    def copy(self, source: str) -> str:
        """Duplicate a file beside itself, as "Duplicate" does, and return the copy's path."""
        folder = PurePosixPath(source).parent
        where = "" if folder == PurePosixPath() else str(folder)
        path: str = self.request("POST", _contents(where), {"copy_from": source}).json()["path"]
        return path

    def delete(self, path: str) -> None:
        """Delete a file; a session that has it open goes on."""
        self.request("DELETE", _contents(path))

    def kernel_pids(self, kernel_id: str) -> list[int]:
        """The living processes of a kernel, found by its connection file."""
        connection_file = f"kernel-{kernel_id}.json"
        pids = []
        for process in psutil.Process(self.pid).children():
            with suppress(psutil.Error):  # it may end while we look
                if _lives(process) and any(word.endswith(connection_file) for word in process.cmdline()):
                    pids.append(process.pid)
        return pids

    def log_tail(self, characters: int = 3000) -> str:
        """The end of the server's log, with a heading, to be put behind a message."""
        try:
            text = Path(self._home.name, "log").read_text(errors="replace")
        except OSError:
            return ""
        return f"\n--- the server's log ---\n{text[-characters:]}"

    def _environment(self, home: Path) -> dict[str, str]:
        """An environment free of the caller's own Jupyter and tracker; writes the config file."""
        foreign = ("JUPYTER", "JPY_", "WANDB_", "IPYTHON")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
            folder = home / name.lower()
            folder.mkdir(exist_ok=True)
            environment[name] = str(folder)
        unneeded = ("jupyter_lsp", "jupyter_server_terminals", "notebook", "notebook_shim")
        config = {
            "ServerApp": {
                "ip": "127.0.0.1",
                "port": 0,
                "open_browser": False,
                "allow_root": True,
                "root_dir": str(self.root),
                "jpserver_extensions": dict.fromkeys(unneeded, False),
            },
            "IdentityProvider": {"token": self.token},
            "KernelRestarter": {"time_to_dead": self.heartbeat, "restart_limit": 1000},
        }
        Path(environment["JUPYTER_CONFIG_DIR"], "jupyter_server_config.json").write_text(json.dumps(config))
        return environment | self.env

    def _answers(self, info: Path) -> bool:
        """Whether the server has said which port it took, and answers there."""
        try:
            self.url = f"http://127.0.0.1:{json.loads(info.read_text())['port']}"
            return self._http.get(f"{self.url}/api/status", timeout=5).ok
        except (OSError, ValueError):  # not written, half written, not listening yet
            return False


def _contents(path: str) -> str:
    return f"/api/contents/{quote(path)}"


def _looks(timeout: float, what: str) -> Iterator[None]:
    """Yield until the caller stops looking; TimeoutError after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        yield
        time.sleep(POLL)
    raise TimeoutError(f"waited {timeout} s for {what}")


def _end(process: subprocess.Popen[bytes], grace: float) -> None:
    """End a server and its kernels, by their process ids; politely first where `grace` allows."""
    try:
        kernels = psutil.Process(process.pid).children(recursive=True)
    except psutil.Error:
        kernels = []
    if grace > 0:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    process.kill()
    process.wait()
    for kernel in kernels:
        with suppress(psutil.Error):
            kernel.kill()  # psutil compares the start time: never another process of the same pid
    for _ in _looks(5, "the end of the kernels"):
        if not any(_lives(kernel) for kernel in kernels):
            break


def _lives(process: psutil.Process) -> bool:
    """Whether it runs: one that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
