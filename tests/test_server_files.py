"""Files up and down: signed addresses, ranges, digests, archives of old SDKs."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import socket
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from jupyter_resume.identity import RunPath
from jupyter_resume.server.refusals import Refusal
from jupyter_resume.server.tickets import LIFETIME, Tickets
from jupyter_resume.store.home import Store

from .serving import Client, Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server") / "home", "--quiet") as server:
        yield server


@pytest.fixture
def client(server: Served, request: pytest.FixtureRequest) -> Client:
    """With a project of its own, and a run ``r`` in it."""
    name = "".join(char if char.isalnum() else "-" for char in request.node.name)
    client = server.client(project=name[:100])
    client.upsert("r")
    return client


def md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def put(url: str, data: bytes, **how: object) -> requests.Response:
    return requests.put(url, data=data, timeout=30, proxies={"http": ""}, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["ckpt.txt", "deep/er/model.h5", "ä ö%20#?&=+.bin", "a;b=c'd\"e.txt"])
@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_a_file_comes_back_as_it_was_sent(client: Client, name: str, size: int) -> None:
    data = b"x" * size
    assert client.upload("r", name, data).status_code == 200
    (node,) = client.files("r", names=[name])
    assert (node["name"], node["sizeBytes"], node["md5"]) == (name, size, md5(data))
    got = client.get(node["url"])
    assert (got.status_code, got.content) == (200, data)
    assert got.headers["Content-Length"] == str(size)
    assert got.headers["Content-MD5"] == md5(data)
    assert requests.get(node["directUrl"], timeout=30).content == data  # without a key
    assert client.run("r", "fileCount")["fileCount"] == 1


def test_a_name_that_is_not_there_is_a_node_with_md5_0(client: Client) -> None:
    client.upload("r", "there", b"1")
    (node,) = client.files("r", names=["nope.txt"])
    assert (node["md5"], node["sizeBytes"], node["url"], node["directUrl"]) == ("0", 0, None, None)
    assert client.download("r", "nope.txt").status_code == 404


def test_files_are_listed_by_pages_and_by_pattern(client: Client) -> None:
    for n in range(5):
        client.upload("r", f"f{n}_{'x' * n}.h5", b"1")
    client.upload("r", "readme", b"1")
    assert [node["name"] for node in client.files("r", pattern="f%.h5", first=2)] == ["f0_.h5", "f1_x.h5"]
    assert [node["name"] for node in client.files("r", first=2, after="4")] == ["f4_xxxx.h5", "readme"]
    assert client.files("r", pattern="f.%") == []
    assert len(client.files("r", pattern="f_%")) == 5


def test_ranges_are_served(client: Client) -> None:
    data = bytes(range(256)) * 100
    client.upload("r", "f", data)

    def asked(value: str, **headers: str) -> tuple[int, bytes, str | None]:
        got = client.download("r", "f", headers={"Range": value, **headers})
        return got.status_code, got.content, got.headers.get("Content-Range")

    assert asked("bytes=0-9") == (206, data[:10], "bytes 0-9/25600")
    assert asked("bytes=25590-") == (206, data[-10:], "bytes 25590-25599/25600")
    assert asked("bytes=-5") == (206, data[-5:], "bytes 25595-25599/25600")
    assert asked("bytes=0-99999999") == (200, data, None)
    assert asked("bytes=25600-")[0] == 416
    assert asked("bytes=9-3")[0] == 416
    assert asked("lines=1-2")[:2] == (200, data)
    tag = client.download("r", "f").headers["ETag"]
    assert asked("bytes=0-9", **{"If-Range": tag})[0] == 206
    assert asked("bytes=0-9", **{"If-Range": '"other"'})[0] == 200


def test_the_etag_is_the_digest_and_saves_a_transfer(client: Client, server: Served) -> None:
    client.upload("r", "f", b"hello")
    tail = Store(server.home).record(RunPath("local", client.project, "r")).tail()
    assert tail is not None
    tag = f'"{tail.point.files["f"].digest}"'
    assert client.download("r", "f").headers["ETag"] == tag
    again = client.download("r", "f", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    head = client.session.head(f"{server.url}/files/local/{client.project}/r/f", timeout=30)
    assert (head.status_code, head.headers["Content-Length"]) == (200, "5")


def test_a_browser_saves_a_file_and_never_runs_it(client: Client) -> None:
    client.upload("r", "page.html", b"<script>alert(1)</script>")
    headers = client.download("r", "page.html").headers
    assert headers["Content-Disposition"].startswith("attachment")
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_a_damaged_blob_is_a_broken_transfer_and_never_a_file(client: Client, server: Served) -> None:
    client.upload("r", "f", b"a" * 1_000_000)
    (blob,) = (
        p for p in Store(server.home).blobs(RunPath("local", client.project, "r")).folder.iterdir() if p.is_file()
    )
    content = bytearray(blob.read_bytes())
    content[500_000] ^= 1
    blob.write_bytes(content)
    with pytest.raises(requests.RequestException):
        client.download("r", "f")
    blob.write_bytes(content[:-1])
    assert client.download("r", "f").status_code == 500


def test_uploads_are_taken_after_the_run_is_complete_and_leave_it_so(client: Client) -> None:
    client.stream("r", {"complete": True, "exitcode": 0})
    assert client.upload("r", "late.txt", b"late").status_code == 200
    assert client.run("r", "state fileCount") == {"state": "finished", "fileCount": 1}


def test_a_newer_content_replaces_and_the_old_blob_goes(client: Client, server: Served) -> None:
    client.upload("r", "f", b"one")
    client.upload("r", "f", b"two")
    assert client.download("r", "f").content == b"two"
    folder = Store(server.home).blobs(RunPath("local", client.project, "r")).folder
    assert len([p for p in folder.iterdir() if not p.name.startswith(".")]) == 1


def test_an_address_that_was_used_takes_the_same_again_and_nothing_else(client: Client) -> None:
    url = client.upload_url("r", "f")
    assert put(url, b"one").status_code == 200
    assert put(url, b"one").status_code == 200  # a retry whose answer was lost
    refused = put(url, b"two")
    assert (refused.status_code, "used already" in refused.json()["error"]) == (409, True)
    assert client.download("r", "f").content == b"one"


def test_an_older_address_does_not_overwrite_what_came_by_a_newer_one(client: Client) -> None:
    older, newer = client.upload_url("r", "f"), client.upload_url("r", "f")
    assert put(newer, b"new").status_code == 200
    assert put(older, b"old").status_code == 409
    assert client.download("r", "f").content == b"new"


def test_forged_addresses_are_refused(client: Client) -> None:
    url = client.upload_url("r", "f")
    forged = [
        url.replace("/r/f?", "/r/g?"),
        url.replace("/r/f?", "/other/f?"),
        re.sub(r"e=\d+", "e=99999999999", url),
        re.sub(r"s=\w{4}", "s=0000", url),
        url.partition("?")[0],
        f"{url}&n=1",
    ]
    for each in forged:
        assert put(each, b"x").status_code == 403, each
    assert requests.get(url, timeout=30).status_code == 403  # it is for putting
    assert client.files("r") == []


def test_a_ticket_expires(tmp_path: Path) -> None:
    now = [1000.0]
    tickets = Tickets(tmp_path / "secret", clock=lambda: now[0])
    run = RunPath("e", "p", "r")
    query = dict(part.split("=") for part in urlsplit(tickets.address("PUT", run, "f")).query.split("&"))
    assert tickets.check("PUT", run, "f", query)
    now[0] += LIFETIME + 1
    with pytest.raises(Refusal, match="expired"):
        tickets.check("PUT", run, "f", query)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_an_upload_that_is_cut_off_leaves_nothing(client: Client, server: Served) -> None:
    client.upload("r", "f", b"good")
    url = urlsplit(client.upload_url("r", "f"))
    with socket.create_connection((url.hostname, url.port)) as raw:
        head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: 1000000\r\n\r\n"
        raw.sendall(head.encode() + b"x" * 300_000)
    folder = Store(server.home).blobs(RunPath("local", client.project, "r")).folder
    until = time.monotonic() + 10
    while [p for p in folder.iterdir() if p.name.startswith(".")] and time.monotonic() < until:
        client.run("r", "state")
    assert len(list(folder.iterdir())) == 1
    assert client.download("r", "f").content == b"good"


def archive(*members: tuple[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tgz; a member is a name with content, or a TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in members:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def special(kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo("x")
    info.type, info.linkname = kind, target
    return info


def test_an_archive_of_an_old_sdk_is_unpacked(client: Client) -> None:
    data = archive(("a.txt", b"1"), ("sub/b.txt", b"22"), ("./c.txt", b""))
    assert client.upload("r", "___batch_archive_1.tgz", data).status_code == 200
    assert {node["name"]: node["sizeBytes"] for node in client.files("r")} == {"a.txt": 1, "sub/b.txt": 2, "c.txt": 0}
    assert client.files("r", names=["a.txt"])[0]["md5"] == md5(b"1")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("../out.txt", b"x"),
        ("/etc/out.txt", b"x"),
        ("sub/../../out.txt", b"x"),
        ("..\\out.txt", b"x"),
        ("link", special(tarfile.SYMTYPE, "/etc/passwd")),
        ("hard", special(tarfile.LNKTYPE, "good.txt")),
        ("pipe", special(tarfile.FIFOTYPE)),
        ("device", special(tarfile.CHRTYPE)),
    ],
)
def test_an_archive_with_anything_unsafe_is_refused_whole(
    client: Client, server: Served, name: str, content: bytes | tarfile.TarInfo
) -> None:
    client.upload("r", "good.txt", b"before")
    answer = client.upload("r", "___batch_archive_1.tgz", archive(("good.txt", b"after"), (name, content)))
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert client.download("r", "good.txt").content == b"before"
    assert client.run("r", "fileCount")["fileCount"] == 1
    assert not list(server.home.rglob("out.txt"))
    assert len(list(Store(server.home).blobs(RunPath("local", client.project, "r")).folder.iterdir())) == 1


@pytest.mark.parametrize("cut", [0, 10, 60, -1])
def test_a_damaged_archive_is_refused(client: Client, cut: int) -> None:
    whole = archive(*((f"f{n}", bytes([n]) * 1000) for n in range(20)))
    answer = client.upload("r", "___batch_archive_1.tgz", whole[:cut] if cut else b"no archive")
    assert answer.status_code == 400
    assert client.files("r") == []


def test_a_file_is_deleted_by_its_id(client: Client) -> None:
    client.upload("r", "a", b"1")
    client.upload("r", "b", b"1")
    node = client.files("r", names=["a"])[0]
    query = "mutation deleteFiles($files: [ID!]!) { deleteFiles(input: {files: $files, projectId: 1}) { success } }"
    assert client.query(query, files=[node["id"]])["deleteFiles"]["success"]
    assert [each["name"] for each in client.files("r")] == ["b"]
    assert client.download("r", "b").content == b"1"
