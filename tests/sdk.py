"""The W&B SDKs themselves, each in an environment of its own, run against our server: they are the judges.

A test module says `pytest_plugins = ("tests.sdk_fixtures",)` and asks for `server`, `current`, `middle`, `oldest`:

    def test_a_run_is_logged(server, current):
        result = run_script(current, "train.py", {"init": {"project": "demo", "id": "r1"}}, server)
        assert result.event("init")["resumed"] is False

The environments are made once per machine, in the user's cache folder. Nothing that the SDKs do leaves loopback.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Queue
from typing import IO, Any

import platformdirs
import psutil
import pytest
import requests

Json = dict[str, Any]
ROOT = Path(__file__).parent.parent
SCRIPTS = Path(__file__).parent / "sdk_scripts"
KEY = "0123456789abcdef0123456789abcdef01234567"
"""Any key is good on loopback; the SDKs insist on 40 characters."""
POLL = 0.05
"""Seconds between two looks at what sends no event: what a server holds."""
NOWHERE = "http://127.0.0.1:9"
"""The proxy for all that is not loopback: nobody listens there."""


# -- the environments --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sdk:
    """One generation of the SDK, and which Pythons run it, the best first."""

    version: str
    pythons: tuple[str, ...]
    pins: tuple[str, ...] = ()
    required: bool = False
    """In CI its absence is a failure, not a skip."""

    def __str__(self) -> str:
        return self.version

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip is told."""
        return (f"wandb=={self.version}", *self.pins)


CURRENT = Sdk("0.31.0", ("3.11", "3.12", "3.13", "3.10"), required=True)
MIDDLE = Sdk("0.13.11", ("3.9", "3.10", "3.8"), ("protobuf<5", "setuptools<70", "urllib3<3"))
OLDEST = Sdk("0.8.36", ("3.7",), ("protobuf<4", "requests<2.32", "setuptools<60", "urllib3<2"))


class NotToBeHad(Exception):
    """An SDK that cannot be installed here; the message says why."""


def python_of(version: str) -> str | None:
    """An interpreter of this version (`"3.7"`): the running one, pyenv's, or one on PATH that really starts."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    found = [str(path) for path in sorted(pyenv.glob(f"versions/{version}.*/bin/python"))]
    if f"{sys.version_info.major}.{sys.version_info.minor}" == version:
        found.insert(0, sys.executable)
    on_path = shutil.which(f"python{version}")
    for candidate in [*found, *([on_path] if on_path else [])]:
        asked = [candidate, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"]
        with contextlib.suppress(OSError):
            answer = subprocess.run(asked, capture_output=True, text=True, check=False)
            if answer.returncode == 0 and answer.stdout.strip() == version:
                return candidate
    return None


@functools.cache
def environment(sdk: Sdk) -> Path:
    """The Python of this SDK's environment, made if it is not there yet; `NotToBeHad` if it cannot be made."""
    python = next(filter(None, map(python_of, sdk.pythons)), None)
    if python is None:
        raise NotToBeHad(f"wandb {sdk} needs Python {' or '.join(sdk.pythons)}: none is installed here")
    known = hashlib.sha256(repr((sdk.requirements, os.path.realpath(python))).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("JUPYTER_RESUME_TEST_SDKS") or platformdirs.user_cache_path("jupyter-resume-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"wandb-{sdk}-{known}"
    with open(cache / f"{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(folder, python, sdk)
            (folder / "ready").write_text(" ".join(sdk.requirements))
    return folder / "bin" / "python"


def _make(folder: Path, python: str, sdk: Sdk) -> None:
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "PYTHON"))}
    for command in (
        [python, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *sdk.requirements],
        [str(folder / "bin" / "python"), "-c", "import wandb"],
    ):
        done = subprocess.run(command, capture_output=True, text=True, env=outside, check=False)
        if done.returncode:
            raise NotToBeHad(f"wandb {sdk} cannot be installed for {python}: {done.stderr.strip()[-400:]}")


# -- our server --------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """`jupyter resume serve` in a process of its own, and questions to what it holds."""

    url: str
    home: Path
    process: subprocess.Popen[str]
    key: str = KEY
    entity: str = ""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rsplit(":", 1)[1])

    def graphql(self, query: str, **variables: Any) -> Json:
        """The data that a query is answered with; an error is an AssertionError."""
        answer = requests.post(
            f"{self.url}/graphql", json={"query": query, "variables": variables}, auth=("api", self.key), timeout=20
        )
        body = answer.json()
        assert answer.status_code == 200, (answer.status_code, body)
        assert not body.get("errors"), body
        data: Json = body["data"]
        return data

    def run(self, run_id: str, project: str = "demo") -> Json:
        """What the server holds of a run: state, counts, config, summary and rows, decoded; empty if it has none."""
        data = self.graphql(_RUN, entity=self.entity, project=project, name=run_id)
        run = (data.get("project") or {}).get("run")
        if not run:
            return {}
        for name in ("config", "summaryMetrics"):
            run[name] = json.loads(run[name] or "{}")
        run["rows"] = [json.loads(row) for row in run.pop("history")]
        run["files"] = {edge["node"]["name"]: edge["node"] for edge in run["files"]["edges"]}
        return dict(run)

    def rows(self, run_id: str, project: str = "demo") -> list[Json]:
        """The rows of a run, in order."""
        rows: list[Json] = self.run(run_id, project).get("rows", [])
        return rows

    def until(self, run_id: str, holds: Callable[[Json], bool], timeout: float = 30, project: str = "demo") -> Json:
        """The run as soon as `holds` is true of it."""
        end = time.monotonic() + timeout
        while True:
            seen = self.run(run_id, project)
            if seen and holds(seen):
                return seen
            assert time.monotonic() < end, f"after {timeout} s: {seen}"
            time.sleep(POLL)

    def post(self, run_id: str, body: Json, project: str = "demo") -> Json:
        """One file_stream request, as any client of the protocol sends it."""
        url = f"{self.url}/files/{self.entity}/{project}/{run_id}/file_stream"
        answer = requests.post(url, json=body, auth=("api", self.key), timeout=20)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        reply: Json = answer.json()
        return reply

    def upsert(self, run_id: str, project: str = "demo", **given: Any) -> None:
        """Make or change a run, as any client of the protocol does."""
        self.graphql(_UPSERT, input={"name": run_id, "modelName": project, "entityName": self.entity, **given})

    def page(self, path: str) -> str:
        """The HTML of a page."""
        answer = requests.get(self.url + path, auth=("api", self.key), timeout=20)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.text

    def stop(self) -> int:
        """Ask it to end, as a service manager does; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


_RUN = """
query TheRun($entity: String!, $project: String!, $name: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      id name displayName state stopped tags notes config summaryMetrics historyLineCount logLineCount fileCount
      conflictCount outOfOrderCount conflicts(last: 100000) history(samples: 1000000)
      files(first: 1000) { edges { node { name sizeBytes md5 url } } }
    }
  }
}
"""


_UPSERT = "mutation Up($input: UpsertBucketInput!) { upsertBucket(input: $input) { bucket { id } } }"


def serve(home: Path, log: Path, port: int = 0, key: str = KEY) -> Server:
    """Start the server over this home, on a free port unless one is given, and wait until it says where it listens."""
    command = [sys.executable, "-u", "-m", "jupyter_resume", "serve", "--port", str(port), "--home", str(home)]
    outside = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "JUPYTER_RESUME_"))}
    with open(log, "a") as errors:
        process = subprocess.Popen(command, cwd=ROOT, env=outside, stdout=subprocess.PIPE, stderr=errors, text=True)
    lines = _Lines(process.stdout)
    end = time.monotonic() + 30
    seen = ""
    while not (address := re.search(r"https?://[\w.\[\]:]+:\d+", seen)):
        line = lines.next(end - time.monotonic())
        if line is None:
            process.kill()
            pytest.fail(f"the server said no address: {seen}\n{log.read_text()[-2000:]}")
        seen += line
    server = Server(address.group(0), home, process, key)
    server.entity = server.graphql("query Who { viewer { entity } }")["viewer"]["entity"]
    return server


# -- the scripts -------------------------------------------------------------------------------------------------------


ORPHANS: list[psutil.Process] = []
"""What killed scripts left behind; ended with the server."""


class _Lines:
    """The lines of a pipe, read by a thread, so that one may wait for the next one with a limit."""

    def __init__(self, pipe: IO[str] | None) -> None:
        assert pipe is not None
        self._queue: Queue[str | None] = Queue()
        self._pipe = pipe
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._pipe:
            self._queue.put(line)
        self._queue.put(None)

    def next(self, timeout: float) -> str | None:
        """The next line; None at the end of the pipe or of the time."""
        try:
            return self._queue.get(timeout=max(0.0, timeout))
        except Empty:
            return None


@dataclass
class Result:
    """What a script did: how it ended, what it told the test, what it printed."""

    rc: int
    events: list[Json]
    output: str

    def event(self, name: str) -> Json:
        """The first event of this name; an AssertionError with the whole output if there is none."""
        found = [event for event in self.events if event["event"] == name]
        assert found, f"no {name} among {[event['event'] for event in self.events]} (exit {self.rc})\n{self.output}"
        return found[0]

    def of(self, name: str) -> list[Json]:
        """All events of this name."""
        return [event for event in self.events if event["event"] == name]


@dataclass
class Session:
    """A script that is running."""

    process: subprocess.Popen[str]
    folder: Path
    events: list[Json] = field(default_factory=list)
    output: str = ""

    def __post_init__(self) -> None:
        self._lines = _Lines(self.process.stdout)

    def _take(self, timeout: float) -> bool:
        """Whether there was one more line."""
        line = self._lines.next(timeout)
        if line is None:
            return False
        self.output += line
        told = line.find('@{"')
        if told >= 0:
            with contextlib.suppress(ValueError):
                self.events.append(json.loads(line[told + 1 :]))
        return True

    def wait_for(self, event: str, timeout: float = 60) -> Json:
        """The first event of this name, as soon as the script has told it."""
        end = time.monotonic() + timeout
        while not (found := [told for told in self.events if told["event"] == event]):
            assert self._take(end - time.monotonic()), f"no {event}:\n{self.output}"
        return found[0]

    def go_on(self) -> None:
        """Let a script that waits go on."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL the script itself, as a kernel dies; the SDK's own processes find out for themselves."""
        ORPHANS.extend(psutil.Process(self.process.pid).children(recursive=True))
        self.process.kill()
        self.process.wait()

    def vanish(self) -> None:
        """SIGKILL the script and all that it started, as a spot machine goes away."""
        for process in [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()

    def result(self, timeout: float = 120) -> Result:
        """Await its end. A process that it left behind may hold its output open: nobody waits for that one."""
        end = time.monotonic() + timeout
        while self.process.poll() is None and time.monotonic() < end:
            self._take(POLL)
        while self._take(POLL):
            pass
        if self.process.poll() is None:
            self.vanish()
            raise TimeoutError(f"{self.process.args!r} did not end in {timeout} s:\n{self.output}")
        return Result(self.process.returncode, self.events, self.output)


def script_environment(server: Server, folder: Path) -> dict[str, str]:
    """The environment of an SDK: our server, a home of its own, and no way out of loopback."""
    outside = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WANDB_", "JUPYTER_RESUME_", "JPY_", "PYTHON", "PIP_")) and "proxy" not in name.lower()
    }
    return outside | {
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "WANDB_BASE_URL": server.url,
        "WANDB_API_KEY": server.key,
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_DISABLE_GIT": "true",
        "WANDB_DIR": str(folder),
        "WANDB_CONFIG_DIR": str(folder / ".config"),
        "WANDB_CACHE_DIR": str(folder / ".cache"),
        "WANDB_DATA_DIR": str(folder / ".data"),
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), NOWHERE),
        **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
    }


def start_script(
    sdk: Sdk,
    script: str,
    plan: Json,
    server: Server,
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Session:
    """Start a script of `sdk_scripts/` with this plan, in a folder of its own unless one is given."""
    folder = folder or Path(tempfile.mkdtemp(prefix="sdk-", dir=server.home.parent))
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [str(environment(sdk)), str(SCRIPTS / script), json.dumps(plan)],
        cwd=folder,
        env=script_environment(server, folder) | dict(env or {}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return Session(process, folder)


def run_script(
    sdk: Sdk,
    script: str,
    plan: Json,
    server: Server,
    *,
    env: Mapping[str, str] | None = None,
    folder: Path | None = None,
    timeout: float = 120,
) -> Result:
    """Run a script of `sdk_scripts/` to its end."""
    return start_script(sdk, script, plan, server, env=env, folder=folder).result(timeout)


def train(sdk: Sdk, server: Server, run_id: str | None = None, **plan: Any) -> Session:
    """Start a training of this run: `resume`, `config`, `notes` and the like go to init(), the rest is the plan."""
    init = {"project": plan.pop("project", "demo"), "id": run_id, **plan.pop("init", {})}
    env, folder = plan.pop("env", None), plan.pop("folder", None)
    asked = {key: value for key, value in init.items() if value is not None}
    return start_script(sdk, "train.py", {"init": asked, **plan}, server, env=env, folder=folder)


def look(sdk: Sdk, server: Server, run_id: str | None = None, **plan: Any) -> Json:
    """What the SDK's public API says of this run, and of whatever else is asked."""
    if run_id is not None:
        plan["path"] = f"{server.entity}/{plan.pop('in_project', 'demo')}/{run_id}"
    result = run_script(sdk, "look.py", plan, server)
    return result.event("error" if result.rc == 3 else "seen")
