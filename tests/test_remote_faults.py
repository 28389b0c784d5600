"""Bad input from a server or from the network: each ends in one error of ours, in time, and tells no secret."""

from __future__ import annotations

import base64
import hashlib
import itertools
import shutil
import socket
import ssl
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_resume import errors
from jupyter_resume.identity import RunPath
from jupyter_resume.remote import http
from jupyter_resume.remote.base import Description, Lines, Post, RemoteFile
from jupyter_resume.remote.http import Timeouts
from jupyter_resume.remote.patience import Patience
from jupyter_resume.remote.wandb import Wandb

from .faults import KEY, SIGNATURE, Fault, Faults, altered, dripping, faults, never, page, redirect, refused, reset

RUN = RunPath("tester", "demo", "r1")


class Time:
    """A clock that goes on by sleeping alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def server() -> Iterator[Faults]:
    with faults() as one:
        one.kept("r1")
        yield one


@pytest.fixture
def time_() -> Time:
    return Time()


@pytest.fixture
def remote(server: Faults, time_: Time) -> Wandb:
    return made(server.url, time_)


def made(url: str, time_: Time, patience: float = 60, **how: Any) -> Wandb:
    how = {"timeouts": Timeouts(2, 2), "chance": lambda: 0.5} | how
    return Wandb(url, KEY, patience, clock=time_.clock, sleep=time_.sleep, **how)


CALLS: dict[str, Callable[[Wandb], object]] = {
    "Viewer": lambda remote: remote.account(),
    "RunResumeStatus": lambda remote: remote.resume_point(RUN),
    "UpsertBucket": lambda remote: remote.begin(RUN, Description()),
    "RewindRun": lambda remote: remote.rewind(RUN, 0),
    "RunFiles": lambda remote: list(remote.files(RUN)),
    "Run": lambda remote: remote.run(RUN),
    "Runs": lambda remote: remote.runs("tester", "demo"),
    "RunFullHistory": lambda remote: remote.sampled(RUN),
    "RunSampledHistory": lambda remote: remote.sampled(RUN, ["loss"]),
    "RunHistoryKeys": lambda remote: list(remote.scan(RUN)),
    "file_stream": lambda remote: remote.append(RUN, Post()),
}

REFUSED = {
    400: errors.RemoteRefused, 401: errors.KeyRejected, 403: errors.KeyRejected, 404: errors.RemoteGone,
    405: errors.RemoteRefused, 410: errors.RemoteGone, 413: errors.RemoteRefused, 422: errors.RemoteRefused,
    501: errors.RemoteRefused,
}  # fmt: skip


@pytest.mark.parametrize("status", REFUSED)
@pytest.mark.parametrize("op", CALLS)
def test_a_refusal_is_not_tried_again(server: Faults, remote: Wandb, op: str, status: int) -> None:
    server.always(op, Fault(status, {"errors": [{"message": "the server's words\nand more"}]}))
    with pytest.raises(REFUSED[status], match="the server's words") as caught:
        CALLS[op](remote)
    assert type(caught.value) is REFUSED[status]
    assert (caught.value.status, server.ops()) == (status, [op])
    assert "and more" not in str(caught.value)


@pytest.mark.parametrize("op", [op for op in CALLS if op != "UpsertBucket"])
def test_a_conflict_is_a_refusal(server: Faults, remote: Wandb, op: str) -> None:
    server.always(op, Fault(409, {"error": "taken over"}))
    with pytest.raises(errors.RemoteRefused, match="taken over"):
        CALLS[op](remote)
    assert server.ops() == [op]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 507, 599])
@pytest.mark.parametrize("op", CALLS)
def test_what_is_for_now_only_is_tried_again(server: Faults, remote: Wandb, op: str, status: int) -> None:
    server.then(op, Fault(status), page(status), reset())
    CALLS[op](remote)
    assert server.ops()[:4] == [op] * 4


@pytest.mark.parametrize("body", ["", "<html>", "[]", "null", '"text"', "[" * 100_000, b"\xff\xfe", '{"data": ', "NaN"])
@pytest.mark.parametrize("op", CALLS)
def test_an_answer_that_is_no_object_makes_no_sense(server: Faults, remote: Wandb, op: str, body: str) -> None:
    server.always(op, Fault(body=body))
    with pytest.raises(errors.RemoteMalformed, match=r"no JSON object|web page"):
        CALLS[op](remote)
    assert server.ops() == [op]


@pytest.mark.parametrize("op", CALLS)
def test_a_login_page_is_told_as_one(server: Faults, remote: Wandb, op: str) -> None:
    server.always(op, page())
    with pytest.raises(
        errors.RemoteMalformed,
        match=r"a web page, not with data \(a proxy or login page\?\): check that WANDB_BASE_URL is a W&B",
    ):
        CALLS[op](remote)


@pytest.mark.parametrize("op", CALLS)
def test_a_post_is_not_sent_on_elsewhere(server: Faults, remote: Wandb, op: str) -> None:
    with faults() as other:
        server.always(op, redirect(f"{other.url}/login?token={SIGNATURE}", 307))
        with pytest.raises(errors.RemoteRefused, match=f"127.0.0.1:{other.port}/login: set WANDB_BASE_URL") as caught:
            CALLS[op](remote)
        assert (caught.value.status, other.seen) == (307, [])


@pytest.mark.parametrize(
    "data", [None, [], "text", {}, {"project": 3}, {"model": 3, "viewer": [], "project": {"run": [], "runs": 3}}]
)
@pytest.mark.parametrize("op", [op for op in CALLS if op != "file_stream"])
def test_data_of_another_shape_ends_in_one_of_our_errors(server: Faults, remote: Wandb, op: str, data: object) -> None:
    server.always(op, Fault(body={"data": data}))
    try:
        assert CALLS[op](remote) is None  # a run that is not there
        assert op == "RunResumeStatus"
    except (errors.RemoteError, errors.RunMissing):
        pass


# Time


def test_pauses_grow_and_end_with_patience(server: Faults, time_: Time) -> None:
    server.always("Viewer", Fault(500))
    with pytest.raises(errors.RemoteUnreachable, match="HTTP 500") as caught:
        made(server.url, time_, patience=600).account()
    assert time_.slept[:8] == [0.5, 1, 2, 4, 8, 16, 32, 60]
    assert max(time_.slept) == 60
    assert sum(time_.slept) < 600
    assert (caught.value.status, caught.value.retry_after) == (500, None)
    assert len(server.seen) == len(time_.slept) + 1


def test_no_patience_is_one_attempt(server: Faults, time_: Time) -> None:
    server.always("Viewer", Fault(503, headers={"Retry-After": "0"}))
    with pytest.raises(errors.RemoteUnreachable):
        made(server.url, time_, patience=0).account()
    assert (server.ops(), time_.slept) == (["Viewer"], [])


def test_patience_is_for_a_whole_call(server: Faults, time_: Time) -> None:
    server.always("*", Fault(500))
    Path("a").write_text("1")
    remote = made(server.url, time_, patience=10)
    for call in (lambda: remote.put_file(RUN, "a", Path("a")), lambda: remote.rewind(RUN, 0)):
        before = time_.now
        server.then("*", *[Fault(500)] * 3, *[altered(lambda body: None)], *[Fault(500)] * 50)
        with pytest.raises(errors.RemoteUnreachable):
            call()
        assert 5 < time_.now - before <= 10


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_pauses_are_spread_by_chance(chance: float) -> None:
    time_ = Time()
    Patience(100, time_.clock, time_.sleep, lambda: chance).pause()
    assert time_.slept == [0.5 * (0.75 + 0.5 * chance)]


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "7.5"}, 7.5),
        ({"Retry-After": formatdate(1e9 + 9, usegmt=True), "Date": formatdate(1e9, usegmt=True)}, 9),  # clock is wrong
        ({"Retry-After": formatdate(1e9 - 9, usegmt=True), "Date": formatdate(1e9, usegmt=True)}, 0.5),
        ({"Retry-After": "-3"}, 0.5),
        ({"Retry-After": "soon"}, 0.5),
        ({"Retry-After": "nan"}, 0.5),
        ({}, 0.5),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_the_server_says_how_long_to_wait(
    server: Faults, remote: Wandb, time_: Time, headers: dict[str, str | None], waited: float, status: int
) -> None:
    server.then("Viewer", Fault(status, headers=headers))
    remote.account()
    assert time_.slept == [waited]


@pytest.mark.parametrize(("said", "told"), [("100", 100), ("1e300", 3600), (formatdate(4e9, usegmt=True), 3600)])
def test_a_wait_that_is_too_long_is_told_and_not_waited_for(
    server: Faults, remote: Wandb, time_: Time, said: str, told: float
) -> None:
    server.then("file_stream", Fault(429, {"error": "slow down"}, {"Retry-After": said}))
    with pytest.raises(errors.RemoteUnreachable, match=f"slow down.*try again in {told} s") as caught:
        remote.append(RUN, Post())
    assert (caught.value.retry_after, time_.slept) == (told, [])


def test_a_server_that_never_answers_is_given_up_in_time(server: Faults) -> None:
    server.always("*", never())
    began = time.monotonic()
    with pytest.raises(errors.RemoteUnreachable, match="no answer within"):
        Wandb(server.url, KEY, patience=1, timeouts=Timeouts(5, 60)).account()
    assert time.monotonic() - began < 10
    with pytest.raises(errors.RemoteUnreachable, match="no answer within 0 s"):
        Wandb(server.url, KEY, patience=0, timeouts=Timeouts(5, 0.2)).account()


def test_an_answer_that_drips_is_given_up_in_time(server: Faults) -> None:
    server.always("Viewer", dripping())
    server.then("Viewer", Fault(200, headers={"Content-Length": "1000000"}, drip=0.05))
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(errors.RemoteUnreachable, match=r"too slowly|cut"):
            Wandb(server.url, KEY, patience=0, timeouts=Timeouts(5, 0.5)).account()
    assert time.monotonic() - began < 10


def test_a_server_that_is_not_there_is_told_in_time() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    time_ = Time()
    with pytest.raises(errors.RemoteUnreachable, match="connection was refused"):
        made(url, time_).account()
    assert len(time_.slept) > 3


def test_a_name_that_nobody_knows_is_told(time_: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(errors.RemoteUnreachable, match=r"nowhere.test cannot be reached .its name is not known"):
        made("http://nowhere.test", time_, patience=1).account()


@pytest.mark.parametrize("fault", [reset(), Fault(body={"data": {}}, cut=5), Fault(body=b"x" * 99, cut=0)])
def test_a_connection_that_is_cut_is_tried_again(server: Faults, remote: Wandb, fault: Fault) -> None:
    server.then("Viewer", fault)
    assert remote.account().entity == "tester"
    server.always("Viewer", fault)
    with pytest.raises(errors.RemoteUnreachable, match="the connection was cut"):
        remote.account()


def test_a_huge_answer_is_not_read_to_its_end(server: Faults, remote: Wandb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_MOST_JSON", 1 << 20)
    server.always("Viewer", Fault(body={"data": {"viewer": {"entity": "x" * (2 << 20)}}}))
    with pytest.raises(errors.RemoteMalformed, match="more than 1 MiB"):
        remote.account()
    server.always("Viewer", Fault(400, b"x" * (2 << 20)))
    with pytest.raises(errors.RemoteRefused, match="HTTP 400"):
        remote.account()


# GraphQL errors


def test_errors_with_a_status_that_is_for_now_are_tried_again(server: Faults, remote: Wandb) -> None:
    server.then("Viewer", refused("overloaded", status=503), refused("rate limit", status=429))
    assert remote.account().entity == "tester"


@pytest.mark.parametrize("data", [None, {"model": None}, {"model": {"bucket": None}}])
def test_a_null_that_comes_with_an_error_is_not_a_run_that_is_not_there(
    server: Faults, remote: Wandb, data: object
) -> None:
    server.then("RunResumeStatus", refused("permission denied", "permission denied", "try again", data=data))
    with pytest.raises(errors.RemoteRefused, match=r"refuses this .permission denied; try again"):
        remote.resume_point(RUN)


@pytest.mark.parametrize(
    ("path", "usable"),
    [
        (["model", "bucket", "displayName"], True),
        (["model", "bucket", "historyTail"], False),
        (["model", "bucket"], False),
        (None, False),
        (["model", "bucket", "tags", 0], False),
    ],
)
def test_data_that_comes_with_errors_is_used_if_they_are_of_decoration(
    server: Faults, remote: Wandb, path: list[str | int] | None, usable: bool
) -> None:
    server.kept("r1").rows = ['{"_step": 0}']
    error = {"message": "resolver failed", **({"path": path} if path else {})}
    server.then("RunResumeStatus", altered(lambda body: body.update(errors=[error])))
    if usable:
        point = remote.resume_point(RUN)
        assert point is not None
        assert point.rows == 1
    else:
        with pytest.raises(errors.RemoteRefused, match="resolver failed"):
            remote.resume_point(RUN)


@pytest.mark.parametrize("listed", ["text", {"message": "x"}, [None], [{}], [{"message": 3}], 7])
def test_errors_of_any_shape_are_errors(server: Faults, remote: Wandb, listed: object) -> None:
    server.then("Viewer", altered(lambda body: body.update(errors=listed)))
    with pytest.raises(errors.RemoteRefused):
        remote.account()


def test_words_of_the_server_are_one_short_line(server: Faults, remote: Wandb) -> None:
    server.then("Viewer", Fault(400, {"error": "a\x1b[31m\u202eb " + "long " * 500 + "\nsecond"}))
    with pytest.raises(errors.RemoteRefused) as caught:
        remote.account()
    assert len(str(caught.value)) < 600
    assert not set("\x1b\u202e\n") & set(str(caught.value))


# Downloads


@pytest.fixture
def file(server: Faults, remote: Wandb) -> RemoteFile:
    server.kept("r1").files["model.bin"] = bytes(range(256)) * 4000
    (found,) = remote.files(RUN)
    return found


CONTENT = bytes(range(256)) * 4000


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_download_is_checked_and_then_put_in_place(remote: Wandb, file: RemoteFile, tmp_path: Path) -> None:
    into = tmp_path / "out" / "deep" / "model.bin"
    remote.fetch(file, into)
    assert into.read_bytes() == CONTENT
    assert leftovers(into.parent) == ["model.bin"]
    into.write_text("old")
    remote.fetch(file, into, progress=True)
    assert into.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "body", [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", b"", b"x" * 10_000_000]
)  # other content, less, more, none, much more
def test_a_download_that_is_not_the_file_leaves_what_was_there(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path, body: bytes
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "model.bin").write_text("good")
    server.always("GET", Fault(body=body))
    with pytest.raises(errors.FileDamaged, match=r"'model.bin'.*thrown away"):
        remote.fetch(file, folder / "model.bin")
    assert (folder / "model.bin").read_text() == "good"
    assert leftovers(folder) == ["model.bin"]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault(404), errors.RemoteGone),
        (Fault(403), errors.KeyRejected),
        (Fault(500), errors.RemoteUnreachable),
        (reset(), errors.RemoteUnreachable),
        (Fault(body=CONTENT, cut=1000, headers={"Accept-Ranges": "none"}), errors.RemoteUnreachable),
        (page(), errors.RemoteMalformed),
        (Fault(204), errors.RemoteMalformed),
    ],
)
def test_a_download_that_fails_leaves_nothing(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path, fault: Fault, error: type[Exception]
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    server.always("GET", fault)
    with pytest.raises(error):
        remote.fetch(file, folder / "model.bin")
    assert leftovers(folder) == []


def test_a_download_that_is_cut_goes_on_where_it_ended(
    server: Faults, time_: Time, file: RemoteFile, tmp_path: Path
) -> None:
    pieces = [300_000, 300_000, 200_000]
    at = [0, *itertools.accumulate(pieces)]
    for n, piece in enumerate(pieces):
        headers: dict[str, str | None] = {"Content-Range": f"bytes {at[n]}-"} if n else {}
        server.then("GET", Fault(206 if n else 200, CONTENT[at[n] :], headers, cut=piece), Fault(503))
    made(server.url, time_, patience=3).fetch(file, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT
    assert [seen.headers.get("range") for seen in server.seen if seen.op == "GET"][::2] == [
        None, "bytes=300000-", "bytes=600000-", "bytes=800000-",
    ]  # fmt: skip


@pytest.mark.parametrize("second", [Fault(body=CONTENT), Fault(416)])
def test_a_server_without_ranges_sends_it_all_again(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path, second: Fault
) -> None:
    server.then("GET", Fault(body=CONTENT, cut=500_000), second, Fault(body=CONTENT))
    remote.fetch(file, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


def test_a_file_that_changed_between_two_halves_is_fetched_anew(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path
) -> None:
    server.then("GET", Fault(body=b"\0" * len(CONTENT), cut=500_000))  # of an older content
    remote.fetch(file, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


def test_another_range_than_asked_for_is_not_put_together(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path
) -> None:
    wrong = Fault(206, CONTENT[1:], {"Content-Range": f"bytes 1-{len(CONTENT) - 1}/{len(CONTENT)}"})
    server.then("GET", Fault(body=CONTENT, cut=500_000), wrong)
    remote.fetch(file, tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == CONTENT


def test_a_digest_in_hex_is_one_too(server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path) -> None:
    hexed = hashlib.md5(CONTENT).hexdigest()
    remote.fetch(RemoteFile(file.name, file.size, hexed, file.url), tmp_path / "model.bin")
    wrong = RemoteFile(file.name, file.size, hashlib.md5(b"").hexdigest(), file.url)
    with pytest.raises(errors.FileDamaged):
        remote.fetch(wrong, tmp_path / "model.bin")


@pytest.mark.parametrize("md5", [None, "", "not a digest", base64.b64encode(b"short").decode()])
def test_without_a_digest_the_size_is_checked_and_that_is_told_once(
    server: Faults, time_: Time, file: RemoteFile, tmp_path: Path, md5: str | None
) -> None:
    told: list[str] = []
    remote = made(server.url, time_, tell=told.append)
    bare = RemoteFile(file.name, file.size, md5, file.url)
    remote.fetch(bare, tmp_path / "a")
    remote.fetch(bare, tmp_path / "b")
    assert len(told) == 1
    assert "no digest" in told[0]
    with pytest.raises(errors.FileDamaged):
        remote.fetch(RemoteFile(file.name, file.size + 1, md5, file.url), tmp_path / "c")


def test_a_place_that_takes_no_file_is_told(remote: Wandb, file: RemoteFile, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    (tmp_path / "folder").mkdir()
    for into in (tmp_path / "taken" / "model.bin", tmp_path / "folder"):
        with pytest.raises(errors.FileError, match="choose another folder"):
            remote.fetch(file, into)
    assert leftovers(tmp_path / "folder") == []


def test_the_key_stays_with_its_server(server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path) -> None:
    with faults() as other:
        other.always("GET", Fault(body=CONTENT))
        server.then("GET", redirect("/files/elsewhere"), redirect(f"{other.url}/bucket/x?sig={SIGNATURE}", 307))
        remote.fetch(file, tmp_path / "a")
        assert [seen.key for seen in server.seen if seen.op == "GET"] == [KEY, KEY]
        assert [(seen.target, seen.key) for seen in other.seen] == [(f"/bucket/x?sig={SIGNATURE}", None)]
        remote.fetch(RemoteFile(file.name, file.size, file.md5, f"{other.url}/direct"), tmp_path / "b")
        assert other.last("GET").key is None
        other.then("GET", redirect(file.url))  # nor does it come back to the key by way of another
        with pytest.raises(errors.KeyRejected):
            remote.fetch(RemoteFile(file.name, file.size, file.md5, f"{other.url}/back"), tmp_path / "c")
        assert server.last("GET").key is None


def test_the_key_stays_below_the_servers_path(tmp_path: Path, time_: Time) -> None:
    with faults(prefix="/wandb") as server:
        server.always("GET", Fault(body=b"x"))
        remote = made(server.url, time_)
        root = server.url.removesuffix("/wandb")
        for url, key in {
            f"{server.url}/files/x": KEY, f"{root}/other": None, f"{root}/wandbother/x": None,
            f"{root}/wandb/../other": None, f"{root}/wandb/%2e%2E/other": None,
            f"{root.replace('127.0.0.1', 'localhost')}/wandb/x": None,
        }.items():  # fmt: skip
            remote.fetch(RemoteFile("x", 1, None, url), tmp_path / "x")
            assert (url, server.last("GET").key) == (url, key)


@pytest.mark.parametrize("to", ["", "ftp://127.0.0.1/x", "http://[::1", "http://a:b/x", "javascript:x"])
def test_a_download_that_is_sent_on_to_nowhere_is_told(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path, to: str
) -> None:
    server.always("GET", redirect(to))
    with pytest.raises(errors.RemoteError):
        remote.fetch(file, tmp_path / "a")
    assert server.ops().count("GET") == 1


def test_a_download_that_is_sent_on_and_on_is_told(
    server: Faults, remote: Wandb, file: RemoteFile, tmp_path: Path
) -> None:
    server.always("GET", redirect(file.url, 301))
    with pytest.raises(errors.RemoteMalformed, match="on and on"):
        remote.fetch(file, tmp_path / "a")
    assert server.ops().count("GET") == 6


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/x", "http://", "http://[x/", "http://h:99999/", "data:,x"]
)
def test_an_address_that_is_none_is_not_asked(remote: Wandb, tmp_path: Path, url: str) -> None:
    with pytest.raises(errors.RemoteError):
        remote.fetch(RemoteFile("x", 1, None, url), tmp_path / "a")
    assert leftovers(tmp_path) == []


# TLS and proxies


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[Faults]:
    if not shutil.which("openssl"):
        pytest.skip("openssl makes the certificate")
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext"
    subprocess.run([*make.split(), "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True, cwd=tmp_path)
    with faults(tls=(tmp_path / "cert.pem", tmp_path / "key.pem")) as server:
        yield server


def test_a_certificate_that_nobody_vouches_for_is_told_at_once(tls: Faults, time_: Time) -> None:
    with pytest.raises(errors.RemoteUnreachable, match=r"safe by TLS .*self.signed.*REQUESTS_CA_BUNDLE"):
        made(tls.url, time_).account()
    assert (time_.slept, tls.seen) == ([], [])


def test_a_certificate_authority_of_ones_own_is_believed(
    tls: Faults, time_: Time, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "cert.pem"))
    remote = made(tls.url, time_)
    assert remote.account().entity == "tester"
    tls.kept("r1").files["a"] = b"1"
    (file,) = remote.files(RUN)
    with faults() as plain:
        tls.always("GET", redirect(f"{plain.url}/a"))
        with pytest.raises(errors.RemoteRefused, match="anybody on the way can read"):
            remote.fetch(file, tmp_path / "a")
        assert plain.seen == []


def test_a_server_without_tls_is_told_at_once(server: Faults, time_: Time) -> None:
    with pytest.raises(errors.RemoteUnreachable, match="safe by TLS"):
        made(server.url.replace("http:", "https:"), time_).account()
    assert time_.slept == []


def test_proxies_come_from_the_environment(server: Faults, time_: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    with faults() as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("https_proxy", proxy.url)
        proxy.then("*", page())
        with pytest.raises(errors.RemoteMalformed, match="login page"):
            made("http://wandb.test", time_).account()
        assert proxy.seen[0].target == "http://wandb.test/graphql"
        proxy.always("CONNECT", Fault(407))
        with pytest.raises(errors.RemoteUnreachable, match=r"proxy on the way to wandb.test.*HTTPS_PROXY"):
            made("https://wandb.test", time_, patience=1).account()


# Secrets, threads, and what nobody thought of


def everything(error: BaseException) -> str:
    """All that a traceback, a log or a debugger's first look would show of an error."""
    links = [error, error.__cause__, error.__context__]
    shown = "".join(traceback.format_exception(error)) + "".join(
        f"{link!r}{link}{vars(link)}" for link in links if link
    )
    return shown + repr(getattr(error, "data", ""))


CODE = base64.b64encode(f"api:{KEY}".encode()).decode()  # as the key is sent


@pytest.mark.parametrize(
    "fault",
    [
        Fault(401, {"error": f"bad key {KEY}"}),
        Fault(400, {"error": f"bad header Basic {CODE}"}),
        refused(f"no such user: {CODE}"),
        Fault(400, {"errors": [{"message": f"api:{KEY} see http://h/x?sig={SIGNATURE}"}]}),
        Fault(500, {"error": f"{KEY}"}),
        refused(f"no such key {KEY}"),
        redirect(f"http://api:{KEY}@127.0.0.1/x?sig={SIGNATURE}"),
        Fault(200, f"not json {KEY}"),
        reset(),
        never(),
    ],
)
def test_no_error_tells_a_secret(server: Faults, time_: Time, fault: Fault, tmp_path: Path) -> None:
    server.always("*", fault)
    remote = made(server.url, time_, patience=1, timeouts=Timeouts(1, 0.2))
    Path("a").write_text("1")
    file = RemoteFile("a", 1, None, f"{server.url}/storage/a?sig={SIGNATURE}")
    calls: list[Callable[[], object]] = [
        remote.account, lambda: remote.append(RUN, Post()), lambda: remote.fetch(file, tmp_path / "b")
    ]  # fmt: skip
    told = "\n".join(everything(error) for call in calls if (error := failure(call)))
    assert not [secret for secret in (KEY, SIGNATURE, CODE) if secret in told]
    assert told.count("Traceback") >= 2
    server.always("*", None)
    for status in (400, 403, 500):
        server.always("PUT", Fault(status, f"<Error>{SIGNATURE}</Error>"))
        with pytest.raises(errors.RemoteError) as caught:
            remote.put_file(RUN, "a", Path("a"))
        assert SIGNATURE not in everything(caught.value)
    assert KEY not in repr(remote) + repr(vars(remote)) + str(remote)


def failure(call: Callable[[], object]) -> errors.ResumeError | None:
    """How a call failed; a post takes any object for an answer."""
    try:
        call()
    except errors.ResumeError as error:
        return error
    return None


@pytest.mark.parametrize(
    "foreign",
    [
        UnicodeError("label too long"), AttributeError("'NoneType' object has no attribute 'readline'"),
        requests.exceptions.InvalidURL("x"), requests.exceptions.RetryError("x"), ssl.SSLEOFError(8, "EOF"), OSError(5),
        requests.exceptions.ChunkedEncodingError("x"), ValueError("x"), RecursionError(), MemoryError(),
        requests.exceptions.ContentDecodingError("x"), requests.exceptions.InvalidHeader("x"), EOFError(),
    ],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_every_foreign_exception_becomes_one_of_ours(
    remote: Wandb, monkeypatch: pytest.MonkeyPatch, foreign: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise foreign

    monkeypatch.setattr(requests.Session, "request", fail)
    with pytest.raises(errors.RemoteError):
        remote.account()


def test_an_interrupt_is_one(server: Faults, remote: Wandb, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(requests.Session, "request", interrupt)
    with pytest.raises(KeyboardInterrupt):
        remote.account()


def test_content_that_is_not_in_its_encoding_is_no_answer(server: Faults, remote: Wandb) -> None:
    server.always("Viewer", Fault(body=b"not gzip at all", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(errors.RemoteError):
        remote.account()


def test_threads_share_a_remote(server: Faults, remote: Wandb) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            run = RunPath("tester", "demo", f"t{number}")
            remote.begin(run, Description())
            for line in range(10):
                remote.append(run, Post(rows=Lines(line, [f'{{"_step": {line}}}'])))
                point = remote.resume_point(run)
                assert point is not None
                assert point.next_step == line + 1
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert [len(server.kept(f"t{n}").rows) for n in range(4)] == [10] * 4
