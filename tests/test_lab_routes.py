"""The sidebar's routes in a Jupyter Server: what they answer, what they refuse, and what a look costs."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pytest_jupyter.jupyter_server import *  # noqa: F403  its fixtures, for this module alone
from tornado.httpclient import HTTPClientError, HTTPResponse

import jupyter_resume
from jupyter_resume import cell
from jupyter_resume.identity import RunPath
from jupyter_resume.lab import answers, routes
from jupyter_resume.lab.answers import Answers
from jupyter_resume.lab.places import Places
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import Record, ResumePoint
from jupyter_resume.store.writer import Writer

from . import processes

Json = dict[str, Any]
Fetch = Callable[..., "Answer"]
KEY = "0123456789abcdef" * 2 + "feedbeef"
"""An API key, which must never be seen."""


class Answer:
    """What a request got: also where it is an error."""

    def __init__(self, response: HTTPResponse) -> None:
        self.code = response.code
        self.headers = response.headers
        self.body = response.body or b""

    @property
    def json(self) -> Json:
        value: Json = json.loads(self.body)
        return value

    def refuses(self, code: int, kind: str) -> str:
        """The message of the error that this must be."""
        assert (self.code, self.json["kind"]) == (code, kind), self.body
        return str(self.json["message"])


@pytest.fixture
def jp_server_config() -> Json:
    return {"ServerApp": {"jpserver_extensions": {"jupyter_resume.lab": True}}}


@pytest.fixture
def root(jp_root_dir: Path) -> Path:
    """The folder that the server shows, with one notebook."""
    write_notebook(jp_root_dir / "train.ipynb", "cell-a", "cell-b")
    return jp_root_dir


@pytest.fixture
def fetch(root: Path, jp_fetch: Any, jp_asyncio_loop: asyncio.AbstractEventLoop) -> Fetch:
    """Ask one of our routes."""

    def ask(path: str, /, method: str = "GET", body: Any = None, headers: Json | None = None, **params: Any) -> Answer:
        parts: Json = {"method": method, "params": {key: str(value) for key, value in params.items()}}
        if method != "GET":
            parts["body"] = body if isinstance(body, (str, bytes)) else json.dumps(body)
        try:
            request = jp_fetch("jupyter-resume/api/v1/" + path, headers=dict(headers or {}), **parts)
            return Answer(jp_asyncio_loop.run_until_complete(request))
        except HTTPClientError as error:
            if error.response is None:
                raise
            return Answer(error.response)

    return ask


def write_notebook(path: Path, *cells: str, notebook_id: str | None = None) -> Path:
    """A notebook of empty cells with these ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"jupyter_resume": {"notebook_id": notebook_id}} if notebook_id else {}
    code = [{"cell_type": "code", "id": cell, "metadata": {}, "outputs": [], "source": ""} for cell in cells]
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": metadata, "cells": code}))
    return path


def begin(run_id: str = "one", **arguments: Any) -> jupyter_resume.Run:
    return jupyter_resume.init(project="lab", id=run_id, resume="allow", **arguments)


def path_of(run_id: str = "one") -> RunPath:
    return RunPath("local", "lab", run_id)


def begun_in(
    notebook: Path, run_id: str = "one", notebook_id: str | None = None, in_cell: str | None = None
) -> jupyter_resume.Run:
    """A run begun by this process as if it were that notebook's kernel."""
    from jupyter_resume import _init, origin, settings

    own, cells = origin.read_notebook(notebook)
    whence = origin.NotebookRef(str(notebook.resolve()), "test", notebook_id or own, None, cells, in_cell)
    asked = settings.resolve({"project": "lab", "id": run_id, "resume": "allow"})
    return _init.start(asked, whence=whence)[0]


def shown(before: dict[str, dict[int, float | None]], answer: Json) -> dict[str, dict[int, float | None]]:
    """The curves that a page shows after an answer."""
    curves = {} if answer["reset"] else {name: dict(points) for name, points in before.items()}
    for metric in answer["history"]["metrics"]:
        kept = {} if metric["from"] is None else curves.get(metric["name"], {})
        kept = {step: value for step, value in kept.items() if metric["from"] is None or step < metric["from"]}
        curves[metric["name"]] = kept | dict(zip(metric["steps"], metric["values"], strict=True))
    return curves


EVERY_ROUTE = [
    ("GET", "hello", None),
    ("GET", "runs", None),
    ("GET", "notebook?path=train.ipynb", None),
    ("PUT", "notebook", {"path": "train.ipynb", "notebook_id": None}),
    ("GET", "runs/local/lab/one", None),
    ("PATCH", "runs/local/lab/one/notes", {"notes": "x"}),
    ("POST", "runs/local/lab/one/restore", {"name": "model.h5", "notebook": "train.ipynb"}),
    ("GET", "runs/local/lab/one/files/model.h5", None),
]


@pytest.fixture
def with_a_file(root: Path) -> Path:
    """A finished run with a file."""
    model = Path("model.h5")
    model.write_bytes(b"weights" * 1000)
    with begin() as run:
        run.log({"loss": 0.5})
        run.save("model.h5", policy="now")
    return model


@pytest.fixture
def plain(jp_serverapp: Any, http_server_client: Any, jp_base_url: str, jp_asyncio_loop: Any) -> Callable[..., Answer]:
    """Ask without a token."""

    def ask(method: str, path: str, body: Any, **headers: str) -> Answer:
        async def go() -> HTTPResponse:
            content = None if method == "GET" else json.dumps(body)
            response: HTTPResponse = await http_server_client.fetch(
                f"{jp_base_url}jupyter-resume/api/v1/{path}",
                method=method,
                body=content,
                headers=headers,
                raise_error=False,
                follow_redirects=False,
            )
            return response

        return Answer(jp_asyncio_loop.run_until_complete(go()))

    return ask


# Who may ask


@pytest.mark.parametrize(("method", "path", "body"), EVERY_ROUTE)
def test_every_route_needs_the_servers_token(
    fetch: Fetch, plain: Callable[..., Answer], with_a_file: Path, method: str, path: str, body: Any
) -> None:
    refused = plain(method, path, body)
    assert refused.code == 403
    assert set(refused.json) == {"message", "kind"}
    assert plain(method, path, body, Authorization="token wrong").code == 403
    name, _, query = path.partition("?")
    assert fetch(name, method, body, **dict([query.split("=")] if query else [])).code == 200


@pytest.mark.parametrize(("method", "path", "body"), [route for route in EVERY_ROUTE if route[0] != "GET"])
def test_a_page_that_is_logged_in_by_cookie_needs_the_xsrf_token_to_change_anything(
    fetch: Fetch,
    plain: Callable[..., Answer],
    with_a_file: Path,
    jp_auth_header: Json,
    method: str,
    path: str,
    body: Any,
) -> None:
    token = jp_auth_header["Authorization"].split()[1]
    hello = plain("GET", f"hello?token={token}", None)
    cookies = dict(c.split(";")[0].split("=", 1) for c in hello.headers.get_list("Set-Cookie"))
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    assert plain(method, path, body, Cookie=cookie).code == 403
    assert plain(method, path, body, Cookie=f"{cookie}; _xsrf=abc", **{"X-XSRFToken": "def"}).code == 403
    assert plain(method, path, body, Cookie=f"{cookie}; _xsrf=abc", **{"X-XSRFToken": "abc"}).code == 200


def test_another_origin_gets_nothing(fetch: Fetch, plain: Callable[..., Answer], with_a_file: Path) -> None:
    assert plain("GET", "runs", None, Origin="https://elsewhere.example").code in (403, 404)


def test_an_address_that_is_no_route_is_a_json_error(fetch: Fetch) -> None:
    assert "no such route" in fetch("nonsense").refuses(404, "NoRoute")
    assert fetch("runs/only-two/parts", "POST", {}).refuses(404, "NoRoute")


# One run


def test_a_runs_answer_tells_all_that_the_panel_shows(fetch: Fetch, root: Path) -> None:
    Path("model.h5").write_bytes(b"weights")
    run = begin(config={"lr": 0.1, "limit": float("inf")}, notes="why", name="first try")
    for step in range(10):
        run.log({"loss": 1 / (step + 1)})
    run.save("model.h5", policy="now")
    answer = fetch("runs/local/lab/one").json
    assert answer["reset"]
    assert answer["run"]["state"] == answer["view"]["state"] == "running"
    assert (answer["run"]["live"], answer["run"]["resumable"]) == (True, False)
    assert (answer["run"]["last_step"], answer["view"]["step"]) == (9, 10)
    assert (answer["notes"], answer["view"]["name"]) == ("why", "first try")
    assert answer["config"] == {"lr": 0.1, "limit": "Infinity"}
    assert [file["name"] for file in answer["files"]] == ["model.h5"]
    assert answer["run"]["last_file"]["name"] == "model.h5"
    (metric,) = answer["history"]["metrics"]
    assert (metric["name"], metric["last"], metric["low"], metric["high"]) == ("loss", 0.1, 0.1, 1.0)
    assert metric["steps"] == list(range(10))
    assert answer["history"]["loaded"] == 1


def test_an_answer_since_a_cursor_holds_only_what_is_new(fetch: Fetch) -> None:
    run = begin(config={"lr": 0.1})
    for step in range(1000):
        run.log({"loss": step, "still": 1} if step < 10 else {"loss": step})
    first = fetch("runs/local/lab/one").json
    curves = shown({}, first)
    for step in range(1000, 1003):
        run.log({"loss": -step})
    second = fetch("runs/local/lab/one", since=first["cursor"]).json
    assert not second["reset"]
    assert "config" not in second
    assert "files" not in second
    assert [metric["name"] for metric in second["history"]["metrics"]] == ["loss"]
    assert len(second["history"]["metrics"][0]["steps"]) < 20
    assert shown(curves, second) == shown({}, fetch("runs/local/lab/one").json)
    run.config["lr"] = 0.2
    assert fetch("runs/local/lab/one", since=second["cursor"]).json["config"] == {"lr": 0.2}


@pytest.mark.parametrize("cursor", ["", "x", "0.0.0.0", "a.1.99999999999999999999.1", "....", "%00", "é.1.²."])
def test_a_cursor_that_means_nothing_gets_everything(fetch: Fetch, cursor: str) -> None:
    begin().log({"loss": 1.0})
    answer = fetch("runs/local/lab/one", since=cursor).json
    assert answer["reset"]
    assert answer["history"]["metrics"][0]["values"] == [1.0]


def test_nothing_new_is_not_modified(fetch: Fetch) -> None:
    run = begin()
    run.log({"loss": 1.0})
    first = fetch("runs/local/lab/one")
    since = first.json["cursor"]
    again = fetch("runs/local/lab/one", headers={"If-None-Match": first.headers["ETag"]}, since=since)
    assert (again.code, again.body) == (304, b"")
    run.log({"loss": 2.0})
    moved = fetch("runs/local/lab/one", headers={"If-None-Match": first.headers["ETag"]}, since=since)
    assert moved.json["run"]["last_step"] == 1
    run.finish()
    ended = fetch("runs/local/lab/one", headers={"If-None-Match": moved.headers["ETag"]}, since=moved.json["cursor"])
    assert ended.json["run"]["state"] == "finished"


@pytest.mark.parametrize("path", ["hello", "runs", "notebook"])
def test_every_list_that_stays_the_same_is_not_modified(fetch: Fetch, with_a_file: Path, path: str) -> None:
    first = fetch(path, path="train.ipynb")
    again = fetch(path, headers={"If-None-Match": first.headers["ETag"]}, path="train.ipynb")
    assert (first.code, again.code, again.body) == (200, 304, b"")


def test_a_killed_writer_shows_as_crashed_with_no_row_lost(fetch: Fetch, home: Path) -> None:
    ours, theirs = processes.pipe()
    with processes.started(_log_and_wait, home, theirs) as child:
        processes.hear(ours)
        first = fetch("runs/local/lab/one").json
        assert first["run"]["state"] == "running"
        assert first["run"]["writer"].endswith(")")
        child.kill()
        child.join()
    answer = fetch("runs/local/lab/one", since=first["cursor"])
    run = answer.json["run"]
    assert (run["state"], run["live"], run["resumable"], run["rows_lost"], run["last_step"]) == (
        "crashed", False, True, 0, 99,
    )  # fmt: skip
    assert fetch("runs").json["runs"][0]["state"] == "crashed"


def _log_and_wait(home: Path, end: Any) -> None:
    processes.at_home(home)
    run = begin()
    for step in range(100):
        run.log({"loss": step})
    end.send("logged")
    end.recv()


def test_damaged_lines_are_counted_as_lost(fetch: Fetch, store: Store) -> None:
    run = begin()
    for step in range(5):
        run.log({"loss": step})
    run.close("interrupted")
    segment = store.record(path_of()).segment(1)
    data = segment.read_bytes().split(b"\n")
    data[3] = data[3].replace(b"loss", b"lo$s")
    segment.write_bytes(b"\n".join(data))
    assert fetch("runs/local/lab/one").json["run"]["rows_lost"] == 1


def test_the_cell_that_a_run_is_in_is_told_with_it(fetch: Fetch, root: Path) -> None:
    run = begun_in(root / "train.ipynb", in_cell="cell-a")
    first = fetch("runs/local/lab/one")
    told = first.json["run"]["cell"]
    assert (told["id"], told["running"]) == ("cell-a", True)
    assert abs(told["at"] - time.time()) < 60
    run.writer.put(lines.META, cell.said(cell.Cell("cell-b", True, 5.0)))
    since = fetch("runs/local/lab/one", since=first.json["cursor"], headers={"If-None-Match": first.headers["ETag"]})
    assert since.json["run"]["cell"] == {"id": "cell-b", "running": True, "at": 5.0}
    assert fetch("notebook", path="train.ipynb").json["run"]["cell"]["id"] == "cell-b"
    run.close("interrupted")
    assert fetch("runs/local/lab/one").json["run"]["cell"] == {"id": "cell-b", "running": False, "at": 5.0}
    begin("two").finish()
    assert fetch("runs/local/lab/two").json["run"]["cell"] is None


def test_a_run_that_is_resumed_goes_on_in_the_same_curves(fetch: Fetch) -> None:
    run = begin()
    run.log({"loss": 1.0})
    run.close("interrupted")
    first = fetch("runs/local/lab/one").json
    run = begin()
    run.log({"loss": 2.0})
    second = fetch("runs/local/lab/one", since=first["cursor"]).json
    assert not second["reset"]
    assert shown(shown({}, first), second) == {"loss": {0: 1.0, 1: 2.0}}
    assert (second["view"]["resumed"], second["view"]["starting_step"]) == (True, 1)


def test_what_an_overtaken_writer_logs_is_taken_back(fetch: Fetch, store: Store) -> None:
    run = begin()
    run.log({"loss": 1.0})
    record = store.record(path_of())
    tail = record.tail()
    assert tail is not None
    run.log({"loss": 99.0})
    first = fetch("runs/local/lab/one").json
    assert shown({}, first) == {"loss": {0: 1.0, 1: 99.0}}
    other = Writer.open(record, tail.point, tail, "another notebook", takeover=True)
    assert other is not None
    other.row({"_step": 1, "_timestamp": 0.0, "_runtime": 0.0, "loss": 3.0}, True)
    second = fetch("runs/local/lab/one", since=first["cursor"]).json
    assert second["reset"]
    assert shown(shown({}, first), second) == {"loss": {0: 1.0, 1: 3.0}}
    other.release()


@pytest.mark.parametrize("looked", [True, False])
def test_a_run_deleted_while_it_is_watched_is_gone_and_may_come_back(fetch: Fetch, store: Store, looked: bool) -> None:
    begin().log({"loss": 1.0})
    begin().finish()
    first = fetch("runs/local/lab/one").json
    shutil.rmtree(store.folder(path_of()))
    if looked:
        missing = fetch("runs/local/lab/one", since=first["cursor"]).refuses(404, "RunMissing")
        assert "no run local/lab/one" in missing
    with begin() as run:
        run.log({"loss": 5.0})
    again = fetch("runs/local/lab/one", since=first["cursor"]).json
    assert shown(shown({}, first), again) == {"loss": {0: 5.0}}


def test_a_record_of_a_newer_version_and_a_damaged_one_are_one_sentence(fetch: Fetch, store: Store) -> None:
    begin().finish()
    segment = store.record(path_of()).segment(1)
    body = segment.read_bytes().split(b"\n")
    head = json.loads(body[0][11:])
    segment.write_bytes(lines.seal(lines.HEAD, lines.dump({**head, "format": 99})) + b"\n".join(body[1:]))
    assert "pip install -U" in fetch("runs/local/lab/one").refuses(409, "RecordTooNew")
    segment.write_bytes(b"garbage\n")
    assert "readable" in fetch("runs/local/lab/one").refuses(409, "RecordDamaged")
    assert fetch("runs").code == 200


def test_values_that_json_does_not_have_come_as_texts_and_gaps(fetch: Fetch) -> None:
    run = begin(config={"odd": [float("nan"), -float("inf")], "big": 2**70, "text": "\ud800<script>"})
    run.log({"loss": 1.0})
    run.log({"loss": float("nan")})
    run.log({"loss": 2.0, "note": "text", "flag": True})
    answer = fetch("runs/local/lab/one").json
    assert shown({}, answer) == {"loss": {0: 1.0, 1: None, 2: 2.0}}
    assert answer["config"] == {"odd": ["NaN", "-Infinity"], "big": 2**70, "text": "\ud800<script>"}


def test_of_very_many_metrics_keys_and_files_an_answer_holds_some_and_counts_the_rest(fetch: Fetch) -> None:
    run = begin(config={f"key{n}": "x" * 5000 for n in range(600)})
    run.log({f"metric{n}": n for n in range(300)})
    assert len(fetch("runs/local/lab/one").body) < 2 << 20
    while (answer := fetch("runs/local/lab/one").json)["history"]["loaded"] < 1:  # the config is long in the record
        pass
    assert len(answer["history"]["metrics"]) == 100
    assert answer["more"] == {"metrics": 200, "config": 100, "files": 0}


def test_what_was_restored_is_told_without_its_kernel(fetch: Fetch, with_a_file: Path) -> None:
    run = begin()
    run.bring_back("model.h5", root="elsewhere")
    with pytest.raises(jupyter_resume.errors.FileMissing):
        run.bring_back("other.h5")
    run.close("interrupted")
    view = fetch("runs/local/lab/one").json["view"]
    assert view["restored"] == ["model.h5 (7.0 kB), verified"]
    assert view["not_restored"][0][0] == "other.h5"
    begin()
    assert fetch("runs/local/lab/one").json["view"]["restored"] == []


@pytest.mark.parametrize(
    "path", ["runs/local/lab/none", "runs/local/none/one", "runs/%2e%2e/%2e%2e/%2e%2e", "runs/a%2fb/c/d"]
)
def test_a_run_that_is_not_there_is_not_made(fetch: Fetch, home: Path, path: str) -> None:
    assert fetch(path).code in (400, 404)
    assert not (home / "runs").exists()


# What a look costs


def many_rows(store: Store, count: int, run_id: str = "long") -> Record:
    """A run with so many rows, written without its ways round."""
    path = path_of(run_id)
    record = store.record(path)
    point = ResumePoint(path.entity, path.project, path.run_id, created=1.0, state="running")
    writer = Writer.open(record, point, None, "test")
    assert writer is not None
    writer.close("running", None)
    block = []
    with record.segment(1).open("ab") as file:
        for step in range(count):
            loss = -5.0 if step == count // 3 else 7.0 if step == count // 2 else 1 / (step + 1)
            text = f'{{"loss":{loss!r},"_step":{step},"_timestamp":1.0,"_runtime":1.0}}'.encode()
            block.append(lines.seal(lines.ROW, text))
            if len(block) == 10_000:
                file.write(b"".join(block))
                block = []
        file.write(b"".join(block))
        point.rows, point.last_step, point.summary = count, count - 1, {"loss": 0.5}
        point.state = "finished"
        file.write(lines.seal(lines.SNAPSHOT, lines.dump(point.dump())))
    return record


def test_a_run_of_a_million_rows_is_read_in_portions_and_then_only_what_is_new(store: Store) -> None:
    record = many_rows(store, 1_000_000)
    asked = Answers(store, Places(None))
    path, curves, cursor, looks = path_of("long"), {}, None, 0
    while True:
        tag, answer = asked.run(path, cursor)
        watched = asked._watched[path]
        curves, cursor, looks = shown(curves, answer), answer["cursor"], looks + 1
        assert watched.history.bytes_read <= looks * (answers.PORTION + 200)  # a line is read whole
        assert answer["run"]["last_step"] == 999_999
        assert len(answer["history"]["metrics"][0]["steps"]) < 800
        if answer["history"]["loaded"] == 1:
            break
    size = record.segment(1).stat().st_size
    assert looks <= size / answers.PORTION + 2
    assert watched.history.lines_read == 1_000_000
    assert (min(curves["loss"].values()), max(curves["loss"].values())) == (-5.0, 7.0)
    assert curves == shown({}, asked.run(path, None)[1])
    read = watched.history.bytes_read
    for _ in range(100):
        assert asked.run(path, cursor)[0] == tag
    assert (watched.history.bytes_read, watched.history.lines_read) == (read, 1_000_000)
    with record.segment(1).open("ab") as file:
        for step in range(1_000_000, 1_000_003):
            file.write(lines.seal(lines.ROW, b'{"loss":0.1,"_step":%d,"_timestamp":1.0,"_runtime":1.0}' % step))
    before = watched.present.bytes_read
    _, answer = asked.run(path, cursor)
    assert watched.history.lines_read == 1_000_003
    assert watched.history.bytes_read - read == watched.present.bytes_read - before < 500
    assert shown(curves, answer) == shown({}, asked.run(path, None)[1])


def many_runs(store: Store, count: int) -> None:
    """So many runs in the catalog, without records."""
    assert store.catalog.runs() == []
    with sqlite3.connect(store.catalog.file) as db:
        db.executemany(
            "INSERT INTO runs (entity, project, run_id, name, state, last_step, rows, created, updated, origin) "
            "VALUES ('local', ?, ?, ?, 'finished', 9, 10, ?, ?, 'null')",
            ((f"p{n % 7}", f"run{n:05}", f"name {n}", float(n), float(n)) for n in range(count)),
        )


def test_ten_thousand_runs_are_paged_and_searched_in_the_catalog(
    fetch: Fetch, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    many_runs(store, 10_000)
    opened: list[Path] = []
    monkeypatch.setattr(Record, "tail", lambda record: opened.append(record.folder))
    page = fetch("runs", limit=50, offset=100).json
    assert page["total"] == 10_000
    assert [run["id"] for run in page["runs"]] == [f"run{n:05}" for n in range(9_899, 9_849, -1)]
    assert fetch("runs", project="p3", limit=1).json["total"] == len(range(3, 10_000, 7))
    assert [run["id"] for run in fetch("runs", q="RUN0123").json["runs"]] == [f"run0123{n}" for n in range(9, -1, -1)]
    assert fetch("runs", q="%").json["total"] == fetch("runs", q="_").json["total"] == 0
    assert fetch("runs", q="name 77").json["total"] == 111
    assert len(fetch("runs", limit=100_000).json["runs"]) == 200
    assert len(fetch("runs", limit=200).body) < 100_000
    assert opened == []


def test_a_list_of_crashed_runs_is_read_from_the_records_once(store: Store) -> None:
    for n in range(20):
        many_rows(store, 10, f"r{n}")
        store.catalog.put(ResumePoint("local", "lab", f"r{n}", created=float(n), state="running"))
    asked = Answers(store, Places(None))
    first = asked.runs(None, False, None, None, "", 0, 50)
    tails = [listed.present.version for listed in asked._listed.values()]
    assert asked.runs(None, False, None, None, "", 0, 50) == first
    assert [listed.present.version for listed in asked._listed.values()] == tails == [1] * 20


def test_what_is_remembered_of_runs_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Answers(store, Places(None))
    for n in range(answers._WATCHED + 5):
        many_rows(store, 5, f"r{n}")
        asked.run(path_of(f"r{n}"), None)
    assert len(asked._watched) == answers._WATCHED


def test_too_much_at_once_is_refused(jp_asyncio_loop: asyncio.AbstractEventLoop) -> None:
    work = routes.Work(threads=1, most=1)

    async def crowd() -> list[Any]:
        import threading

        wait = threading.Event()
        first = asyncio.ensure_future(work.do(wait.wait, 30))
        await asyncio.sleep(0)
        results = await asyncio.gather(work.do(int), return_exceptions=True)
        wait.set()
        return [await first, *results]

    first, second = jp_asyncio_loop.run_until_complete(crowd())
    assert first
    assert isinstance(second, routes.Refusal)
    assert second.status == 503


# The notebook in front


def test_a_notebook_finds_its_run(fetch: Fetch, root: Path) -> None:
    assert fetch("notebook", path="train.ipynb").json == {"run": None, "runs": []}
    run = begun_in(root / "train.ipynb")
    run.log({"loss": 1.0})
    found = fetch("notebook", path="train.ipynb").json["run"]
    assert (found["path"], found["state"], found["last_step"], found["mine"]) == ("local/lab/one", "running", 0, True)
    assert found["origin"] == {
        "kind": "notebook",
        "label": "notebook train.ipynb",
        "path": "train.ipynb",
        "notebook_id": None,
    }
    run.close("interrupted")
    assert fetch("notebook", path="train.ipynb").json["run"]["resumable"]
    assert fetch("notebook", path="other.ipynb").json["run"] is None


def test_a_renamed_notebook_finds_its_run_by_its_cells_or_by_its_id(fetch: Fetch, root: Path) -> None:
    begun_in(root / "train.ipynb").close("interrupted")
    (root / "sub").mkdir()
    (root / "train.ipynb").rename(root / "sub" / "renamed.ipynb")
    assert fetch("notebook", path="sub/renamed.ipynb").json["run"]["id"] == "one"
    write_notebook(root / "b.ipynb", "x", notebook_id="idb")
    begun_in(root / "b.ipynb", "two").close("interrupted")
    (root / "b.ipynb").unlink()
    write_notebook(root / "c.ipynb", "all", "new", "cells")
    assert fetch("notebook", path="c.ipynb").json["run"] is None
    assert fetch("notebook", path="c.ipynb", notebook_id="idb").json["run"]["id"] == "two"


def test_a_copy_has_no_run_of_its_originals(fetch: Fetch, root: Path) -> None:
    write_notebook(root / "train.ipynb", "cell-a", notebook_id="original")
    begun_in(root / "train.ipynb").close("interrupted")
    shutil.copy(root / "train.ipynb", root / "copy.ipynb")
    assert fetch("notebook", path="copy.ipynb", notebook_id="original").json["run"] is None
    assert fetch("notebook", path="train.ipynb", notebook_id="original").json["run"]["id"] == "one"


def test_a_copy_of_a_moved_notebook_has_no_run_of_it_though_the_old_place_is_empty(
    fetch: Fetch, root: Path, store: Store
) -> None:
    """As its kernel has it, which is to begin a run of its own; to look changes nothing."""
    write_notebook(root / "train.ipynb", "cell-a", notebook_id="original")
    begun_in(root / "train.ipynb").close("interrupted")
    (root / "train.ipynb").rename(root / "moved.ipynb")
    fetch("notebook", "PUT", {"path": "moved.ipynb", "notebook_id": "original"})
    shutil.copy(root / "moved.ipynb", root / "copy.ipynb")
    assert fetch("notebook", path="copy.ipynb", notebook_id="original").json["run"] is None
    assert fetch("notebook", path="moved.ipynb", notebook_id="original").json["run"]["id"] == "one"
    assert store.catalog.notebook_at(str((root / "copy.ipynb").resolve())) is None


@pytest.mark.parametrize("told", [{}, {"cells": ["not-saved"]}])
@pytest.mark.parametrize("own", [None, "original"])
def test_a_notebook_made_anew_at_the_path_of_a_deleted_one_has_no_run_of_it(
    fetch: Fetch, root: Path, own: str | None, told: Json
) -> None:
    """JupyterLab makes the file without cells; the first one is saved later."""
    begun_in(write_notebook(root / "train.ipynb", "cell-a", notebook_id=own)).close("interrupted")
    if own:
        fetch("notebook", "PUT", {"path": "train.ipynb", "notebook_id": own})
    (root / "train.ipynb").unlink()
    write_notebook(root / "train.ipynb")
    query = {name: ",".join(cells) for name, cells in told.items()}
    assert fetch("notebook", path="train.ipynb", **query).json["run"] is None
    assert fetch("notebook", "PUT", {"path": "train.ipynb", "notebook_id": None, **told}).json["notebook_id"] != own
    assert fetch("notebook", path="train.ipynb", **query).json["run"] is None


def test_runs_are_marked_and_limited_to_the_notebooks_own(fetch: Fetch, root: Path) -> None:
    begun_in(root / "train.ipynb", "mine").finish()
    begin("theirs").finish()
    listed = fetch("runs", notebook="train.ipynb").json
    assert {run["id"]: run["mine"] for run in listed["runs"]} == {"theirs": False, "mine": True}
    mine = fetch("runs", notebook="train.ipynb", only="mine").json
    assert (mine["total"], [run["id"] for run in mine["runs"]]) == (1, ["mine"])
    assert fetch("runs", notebook="train.ipynb", only="mine", q="nothing").json["total"] == 0


def test_a_notebook_gets_an_id_that_two_tabs_agree_on(fetch: Fetch, root: Path) -> None:
    ask = {"path": "train.ipynb", "notebook_id": None}
    first, second = fetch("notebook", "PUT", ask).json, fetch("notebook", "PUT", ask).json
    assert first == second
    assert first["copy_of"] is None
    assert fetch("notebook", "PUT", {**ask, "notebook_id": first["notebook_id"]}).json == first


@pytest.mark.parametrize("told", ["", "has space", "x" * 65, 7, ["a"], {"a": 1}, "<script>", "\u0661\u0662"])
def test_an_id_that_is_none_of_ours_is_replaced(fetch: Fetch, root: Path, told: Any) -> None:
    given = fetch("notebook", "PUT", {"path": "train.ipynb", "notebook_id": told}).json["notebook_id"]
    assert given != told
    assert len(given) == 16


def test_a_copy_beside_its_original_gets_its_own_id_and_a_moved_one_keeps_it(fetch: Fetch, root: Path) -> None:
    def put(path: str, notebook_id: str | None) -> Json:
        return fetch("notebook", "PUT", {"path": path, "notebook_id": notebook_id}).json

    own = put("train.ipynb", None)["notebook_id"]
    write_notebook(root / "train.ipynb", "cell-a", notebook_id=own)
    (root / "sub").mkdir()
    (root / "train.ipynb").rename(root / "sub" / "moved.ipynb")
    assert put("sub/moved.ipynb", own) == {"notebook_id": own, "copy_of": None}
    shutil.copy(root / "sub" / "moved.ipynb", root / "copy.ipynb")
    copy = put("copy.ipynb", own)
    assert copy["notebook_id"] != own
    assert copy["copy_of"] == "sub/moved.ipynb"
    assert put("copy.ipynb", own)["notebook_id"] == copy["notebook_id"]
    assert put("sub/moved.ipynb", own) == {"notebook_id": own, "copy_of": None}


OUTSIDE = [
    "../train.ipynb",
    "a/../../train.ipynb",
    "..\\train.ipynb",
    "/../x.ipynb",
    "a/./b.ipynb",
    "train.py",
    "",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_notebook_outside_the_servers_folder_is_refused(
    fetch: Fetch, root: Path, with_a_file: Path, path: str
) -> None:
    write_notebook(root.parent / "train.ipynb", "x")
    assert fetch("notebook", path=path).code == 400
    assert fetch("notebook", "PUT", {"path": path, "notebook_id": None}).code == 400
    body = {"name": "model.h5", "notebook": path, "replace": True}
    assert fetch("runs/local/lab/one/restore", "POST", body).code == 400
    assert with_a_file.parent.samefile(root.parent)


def test_a_path_with_a_null_byte_is_refused(fetch: Fetch, root: Path) -> None:
    assert fetch("notebook", "PUT", {"path": "x\0.ipynb", "notebook_id": None}).refuses(400, "InvalidInput")


def test_a_hidden_notebook_is_not_shown(fetch: Fetch, root: Path, with_a_file: Path) -> None:
    write_notebook(root / ".secret" / "x.ipynb", "x")
    body = {"name": "model.h5", "notebook": ".secret/x.ipynb"}
    assert fetch("runs/local/lab/one/restore", "POST", body).refuses(404, "NotebookMissing")


# Notes


def test_notes_of_a_run_that_a_kernel_writes_reach_the_page_and_the_kernel(fetch: Fetch) -> None:
    run = begin(notes="old")
    first = fetch("runs/local/lab/one").json
    assert fetch("runs/local/lab/one/notes", "PATCH", {"notes": "new <b>"}).json == {"notes": "new <b>"}
    second = fetch("runs/local/lab/one", since=first["cursor"]).json
    assert (second["notes"], second["view"]["notes"]) == ("new <b>", "new <b>")
    run._writer.tend()
    assert run.notes == "new <b>"
    third = fetch("runs/local/lab/one").json
    assert (third["notes"], third["run"]["live"]) == ("new <b>", True)


def test_notes_of_an_ended_run_leave_it_as_it_is(fetch: Fetch, with_a_file: Path) -> None:
    before = fetch("runs/local/lab/one").json["run"]
    assert fetch("runs/local/lab/one/notes", "PATCH", {"notes": "later"}).code == 200
    after = fetch("runs/local/lab/one").json
    assert (after["run"], after["notes"]) == (before, "later")
    assert fetch("runs/local/lab/one/notes", "PATCH", {"notes": None}).code == 200
    assert fetch("runs/local/lab/one").json["notes"] is None


@pytest.mark.parametrize(
    "body", [{}, {"notes": 3}, {"notes": ["x"]}, {"notes": "x" * 65_537}, [], "x", "not json", b"\xff"]
)
def test_notes_that_are_none_are_refused(fetch: Fetch, with_a_file: Path, body: Any) -> None:
    assert fetch("runs/local/lab/one/notes", "PATCH", body).code == 400
    assert fetch("runs/local/lab/one").json["notes"] is None
    assert fetch("runs/local/lab/none/notes", "PATCH", {"notes": "x"}).refuses(404, "RunMissing")


# Files


def test_a_file_comes_back_into_the_notebooks_folder(fetch: Fetch, root: Path, with_a_file: Path) -> None:
    write_notebook(root / "deep" / "er" / "x.ipynb", "x")
    body = {"name": "model.h5", "notebook": "deep/er/x.ipynb"}
    first = fetch("runs/local/lab/one/restore", "POST", body).json
    assert (first["path"], first["copied"], first["size"]) == ("deep/er/model.h5", True, 7000)
    assert (root / "deep/er/model.h5").read_bytes() == with_a_file.read_bytes()
    assert not fetch("runs/local/lab/one/restore", "POST", body).json["copied"]


def test_another_file_in_its_place_is_replaced_only_on_request(fetch: Fetch, root: Path, with_a_file: Path) -> None:
    (root / "model.h5").write_bytes(b"mine")
    body = {"name": "model.h5", "notebook": "train.ipynb"}
    assert "replace" in fetch("runs/local/lab/one/restore", "POST", body).refuses(409, "LocalFileDiffers")
    assert (root / "model.h5").read_bytes() == b"mine"
    assert fetch("runs/local/lab/one/restore", "POST", {**body, "replace": True}).json["copied"]
    assert (root / "model.h5").read_bytes() == with_a_file.read_bytes()


BAD_NAMES = ["../model.h5", "/etc/passwd", "a/../../b", "..", "", "C:\\x", "x\0", "\n", "x" * 5000]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_a_name_that_leaves_its_folder_is_refused(fetch: Fetch, root: Path, with_a_file: Path, name: str) -> None:
    before = sorted(root.rglob("*"))
    body = {"name": name, "notebook": "train.ipynb", "replace": True}
    assert fetch("runs/local/lab/one/restore", "POST", body).refuses(400, "UnsafeName")
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize(
    "name", ["../one/model.h5", "../../../../../etc/passwd", "..", "/etc/passwd", "model.h5/../../x"]
)
def test_a_download_never_leaves_the_store(fetch: Fetch, with_a_file: Path, name: str) -> None:
    answer = fetch("runs/local/lab/one/files/" + quote(name, safe=""))
    assert answer.code in (400, 404)
    assert b"root:" not in answer.body


def test_a_link_out_of_the_folder_is_not_followed(fetch: Fetch, root: Path) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    Path("sub").mkdir()
    Path("sub/model.h5").write_bytes(b"weights")
    with begin() as run:
        run.save("sub/model.h5", policy="now")
    (root / "sub").symlink_to(outside)
    body = {"name": "sub/model.h5", "notebook": "train.ipynb", "replace": True}
    assert "link" in fetch("runs/local/lab/one/restore", "POST", body).refuses(400, "UnsafeName")
    assert list(outside.iterdir()) == []


def test_a_restore_of_nothing_known_is_one_sentence(fetch: Fetch, root: Path, with_a_file: Path) -> None:
    body = {"name": "modle.h5", "notebook": "train.ipynb"}
    assert "did you mean 'model.h5'" in fetch("runs/local/lab/one/restore", "POST", body).refuses(404, "FileMissing")
    assert fetch("runs/local/lab/none/restore", "POST", body).refuses(404, "RunMissing")
    body = {"name": "model.h5", "notebook": "gone.ipynb"}
    assert fetch("runs/local/lab/one/restore", "POST", body).refuses(404, "NotebookMissing")
    assert fetch("runs/local/lab/one/restore", "POST", {"name": 3, "notebook": "train.ipynb"}).code == 400
    assert fetch("runs/local/lab/one/restore", "POST", {"name": "model.h5"}).code == 400


def test_damaged_content_is_neither_restored_nor_downloaded(
    fetch: Fetch, root: Path, store: Store, with_a_file: Path
) -> None:
    (blob,) = store.blobs(path_of()).folder.iterdir()
    blob.write_bytes(b"w" * 7000)
    body = {"name": "model.h5", "notebook": "train.ipynb"}
    assert fetch("runs/local/lab/one/restore", "POST", body).refuses(409, "FileDamaged")
    assert fetch("runs/local/lab/one/files/model.h5").refuses(409, "FileDamaged")
    blob.unlink()
    assert fetch("runs/local/lab/one/files/model.h5").refuses(409, "FileDamaged")
    assert not (root / "model.h5").exists()


def test_a_download_is_the_file_as_an_attachment(fetch: Fetch, with_a_file: Path) -> None:
    answer = fetch("runs/local/lab/one/files/model.h5")
    assert answer.body == with_a_file.read_bytes()
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''model.h5"
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    again = fetch("runs/local/lab/one/files/model.h5", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.code, again.body) == (304, b"")


def test_a_long_download_is_streamed_and_one_damaged_at_its_end_never_ends_well(
    fetch: Fetch, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_CHUNK", 1 << 16)
    Path("big.bin").write_bytes(os.urandom(1 << 20))
    with begin() as run:
        run.save("big.bin", policy="now")
    assert fetch("runs/local/lab/one/files/big.bin").body == Path("big.bin").read_bytes()
    (blob,) = store.blobs(path_of()).folder.iterdir()
    with blob.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?" if Path("big.bin").read_bytes()[-1:] != b"?" else b"!")
    with pytest.raises((AssertionError, HTTPClientError, OSError)):
        fetch("runs/local/lab/one/files/big.bin")


@pytest.mark.parametrize(
    "name", ["sub dir/ä \u202eb.bin", "quote\"'.bin", "<script>.html", "100%.txt", "plus+plus#?.x"]
)
def test_a_file_of_any_name_comes_down_under_it(fetch: Fetch, name: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"content")
    with begin() as run:
        run.save(name, policy="now")
    answer = fetch("runs/local/lab/one/files/" + name)
    assert answer.body == b"content"
    assert answer.headers["Content-Disposition"].isascii()
    assert answer.headers["Content-Disposition"].endswith(quote(path.name, safe=""))


# No key


def test_no_key_is_in_any_answer_or_log(
    fetch: Fetch, with_a_file: Path, home: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("HOME", str(home.parent))
    (home.parent / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    (home.parent / ".netrc").chmod(0o600)
    with begin() as run:
        run.log({"loss": 0.1})
    bodies = []
    for method, path, body in [*EVERY_ROUTE, ("GET", "nonsense", None), ("GET", "runs/local/lab/none", None)]:
        name, _, query = path.partition("?")
        answer = fetch(name, method, body, **dict([query.split("=")] if query else []))
        bodies.append(answer.body + str(list(answer.headers.get_all())).encode())
    assert len(bodies) == len(EVERY_ROUTE) + 2
    assert not any(KEY.encode() in body for body in bodies)
    assert caplog.text
    assert KEY not in caplog.text


def test_something_unforeseen_is_told_in_the_log_only(
    fetch: Fetch, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: Answers) -> Json:
        raise ZeroDivisionError("a detail of ours")

    monkeypatch.setattr(Answers, "hello", fail)
    assert "detail" not in fetch("hello").refuses(500, "Internal")
    assert "a detail of ours" in caplog.text


# Whatever a run goes through

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("log"), st.sampled_from([1.0, -2.5, float("nan"), float("inf"), 7, 2**2000, "text", True])),
        st.tuples(
            st.sampled_from(["again", "late", "remember", "resume", "crash", "take over", "look", "look"]), st.just(0.0)
        ),
    ),
    max_size=40,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS, st.integers(50, 2000))
@example([(what, 1.0) for what in ("log", "remember", "log", "log", "look", "take over", "log", "late", "look")], 500)
def test_what_a_page_was_sent_bit_by_bit_is_the_whole_history(
    tmp_path: Path, steps: list[tuple[str, Any]], portion: int
) -> None:
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        store = Store(Path(folder))
        asked = Answers(store, Places(None), portion)
        record, path = store.record(path_of()), path_of()
        writers = [opened(record, ResumePoint(*path_parts(path), created=1.0), None)]
        curves: dict[str, dict[int, float | None]] = {}
        cursor, value, step = None, 0.0, 0
        remembered: Any = None
        for what, value in [*steps, ("look", 0.0)]:
            writer = writers[-1]
            if what in ("log", "again"):
                step = writer.point.next_step - (what == "again" and writer.point.next_step > 0)
                writer.row({"_step": step, "_timestamp": 1.0, "_runtime": 1.0, "m": value}, False)
            elif what == "late" and len(writers) > 1:  # of one who does not know yet that he was overtaken
                writers[-2].row({"_step": step, "_timestamp": 1.0, "_runtime": 1.0, "m": -99.0}, True)
            elif what == "remember":
                remembered = record.tail()
            elif what == "take over" and remembered and remembered.token == writer.token:
                writers.append(opened(record, copy.deepcopy(remembered.point), remembered))
            elif what in ("resume", "crash"):
                if what == "resume":
                    writer.close("interrupted", None)
                elif what == "crash":
                    with record.segment(writer.token).open("ab") as file:
                        file.write(b'0000 r {"_st')
                tail = record.tail()
                assert tail is not None
                writers.append(opened(record, copy.deepcopy(tail.point), tail))
            elif what == "look":
                _, answer = asked.run(path, cursor)
                curves, cursor = shown(curves, answer), answer["cursor"]
        while answer["history"]["loaded"] < 1:
            _, answer = asked.run(path, cursor)
            curves, cursor = shown(curves, answer), answer["cursor"]
        history = {row["_step"]: row["m"] for row in record.history() if "m" in row and drawable(row["m"])}
        expected = {step: float(value) if abs(value) < float("inf") else None for step, value in history.items()}
        assert curves.get("m", {}) == expected
        for writer in writers:
            writer.release()


def opened(record: Record, point: ResumePoint, tail: Any) -> Writer:
    point.state = "running"
    writer = Writer.open(record, point, tail, "test", takeover=True, tell=lambda text: None)
    assert writer is not None
    return writer


def path_parts(path: RunPath) -> tuple[str, str, str]:
    return path.entity, path.project, path.run_id


def drawable(value: Any) -> bool:
    """Whether a curve shows something where a metric has this value."""
    return type(value) is float or (type(value) is int and abs(value) < 2**1000)
