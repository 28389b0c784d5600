"""What cannot be right is a 4xx or 5xx with one sentence, and harms nothing that was there before."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import requests

from .serving import CREATE, Client, Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server") / "home") as server:
        yield server


@pytest.fixture
def client(server: Served, request: pytest.FixtureRequest) -> Iterator[Client]:
    """With a run ``r`` of three rows in a project of its own, which are there afterwards as well."""
    name = "".join(char if char.isalnum() and char.isascii() else "-" for char in request.node.name)
    client = server.client(project=name[:100])
    client.upsert("r", config={"lr": {"value": 1}})
    client.rows("r", 0, [{"_step": n, "x": n} for n in range(3)])
    yield client
    assert [row["x"] for row in client.history("r")] == [0, 1, 2]
    assert server.process.poll() is None
    assert "Traceback" not in server.stderr


def refused(answer: requests.Response, *statuses: int) -> str:
    """The one sentence of a refusal."""
    assert answer.status_code in (statuses or (400,)), (answer.status_code, answer.text[:300])
    said = answer.json()
    sentence: str = said.get("error") or said["errors"][0]["message"]
    assert sentence.count("\n") == 0
    assert 10 < len(sentence) < 500
    return sentence


def history(offset: Any, *content: Any) -> dict[str, Any]:
    return {"files": {"wandb-history.jsonl": {"offset": offset, "content": list(content)}}}


@pytest.mark.parametrize(
    "body", [b"", b"{", b"nope", b"[1]", b'"x"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"files": 3}']
)
def test_a_malformed_post(client: Client, body: bytes) -> None:
    refused(client.post(f"/files/local/{client.project}/r/file_stream", data=body))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"query": 1}', b'{"query": "{viewer{id}}", "variables": []}']
)
def test_a_malformed_query(client: Client, body: bytes) -> None:
    refused(client.post("/graphql", data=body))


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}" * 1000)[:-9], b""], ids=["none", "cut off", "empty"])
def test_malformed_gzip(client: Client, body: bytes) -> None:
    path = f"/files/local/{client.project}/r/file_stream"
    refused(client.post(path, data=body, headers={"Content-Encoding": "gzip"}))


def test_good_gzip_is_taken(client: Client) -> None:
    body = gzip.compress(json.dumps({"files": {"output.log": {"offset": 0, "content": ["x"]}}}).encode())
    path = f"/files/local/{client.project}/r/file_stream"
    assert client.post(path, data=body, headers={"Content-Encoding": "gzip"}).status_code == 200
    assert client.run("r", "logLineCount")["logLineCount"] == 1


def test_a_gzip_bomb_is_not_unpacked(client: Client) -> None:
    bomb = gzip.compress(bytes(1 << 28))
    path = f"/files/local/{client.project}/r/file_stream"
    refused(client.post(path, data=bomb, headers={"Content-Encoding": "gzip"}), 413)


def test_a_line_of_50_mb(client: Client) -> None:
    line = json.dumps({"_step": 3, "x": "y" * 50_000_000})
    refused(client.stream("r", history(3, line)), 413)


def test_a_line_of_17_mib_in_a_post_that_is_small_enough(client: Client) -> None:
    refused(client.stream("r", history(3, json.dumps({"_step": 3, "x": "y" * (17 << 20)}))), 413)


def test_a_body_without_an_end_is_cut(client: Client, server: Served) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * (1 << 20)

    with contextlib.suppress(requests.ConnectionError):  # that it closes in mid-body is as good
        refused(client.post(f"/files/local/{client.project}/r/file_stream", data=endless()), 413)


@pytest.mark.parametrize("offset", [-1, 1 << 70, 1e300, "5", None, True, [1], 2_000_000_000, (1 << 63) - 1])
def test_an_offset_that_cannot_be(client: Client, offset: Any) -> None:
    refused(client.stream("r", history(offset, '{"_step": 3, "x": 3}')))


@pytest.mark.parametrize("line", ["", "{", "[]", "3", "nul", '"x"', "{}{}", "\x00"])
def test_a_line_that_is_no_object_refuses_the_whole_post(client: Client, line: str) -> None:
    refused(client.stream("r", history(3, '{"_step": 3, "x": 3}', line)))


@pytest.mark.parametrize("content", [{"a": 1}, "text", [1], [None], [["x"]]])
def test_content_that_is_no_list_of_lines(client: Client, content: Any) -> None:
    refused(client.stream("r", {"files": {"wandb-history.jsonl": {"offset": 3, "content": content}}}))


def test_an_overlap_with_other_rows_is_kept_aside_with_200(client: Client) -> None:
    assert client.rows("r", 1, [{"_step": 1, "x": 11}, {"_step": 2, "x": 2}]).status_code == 200
    assert client.run("r", "conflictCount")["conflictCount"] == 1


NAMES = [
    "a/b",
    "a b",
    "100%",
    "%2e%2e",
    "Größe",
    "😀",
    "..",
    ".",
    "x" * 10_000,
    "x" * 65,
    "a\nb",
    "a\x00b",
    "'; drop",
    "<b>",
]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_run_id_that_cannot_be(client: Client, name: str) -> None:
    said = client.ask(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={"name": name, "modelName": client.project},
    )
    assert said["status"] == 400, said
    assert len(said["errors"][0]["message"]) < 500
    assert client.resume(name) is None
    answer = client.post(f"/files/local/{client.project}/{quote(name, safe='')}/file_stream", json={})
    assert answer.status_code in (404, 405, 400)


@pytest.mark.parametrize("project", ["a/b", "a?b", "a#b", "x" * 129, "a\\b", "a:b", "%2e"])
def test_a_project_name_that_cannot_be(client: Client, project: str) -> None:
    said = client.ask(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={"name": "r", "modelName": project},
    )
    assert said["status"] == 400
    assert (
        client.query('query($p: String) { project(name: $p) { run(name: "r") { name } } }', p=project)["project"]
        is None
    )


@pytest.mark.parametrize("project", ["übung", "a b", "..", ".", "CON", "a+b&c=d", "日本"])
def test_unusual_project_names_work(server: Served, project: str) -> None:
    client = server.client(project=project)
    client.upsert("r")
    path = f"/files/local/{quote(project, safe='')}/r/file_stream"
    if project in ("..", "."):  # no HTTP client sends such a path as it is
        path = f"/files/local/{project.replace('.', '%2E')}/r/file_stream"
    if project not in ("..", "."):
        assert client.post(path, json=history(0, '{"_step": 0}')).status_code == 200
        assert len(client.history("r")) == 1
    assert not list(server.home.parent.glob("r"))


PATHS = [
    "../x",
    "a/../../x",
    "/etc/passwd",
    "..\\x",
    "a\\..\\..\\x",
    "c:\\x",
    "\\\\host\\x",
    "a\nb",
    "a\x00b",
    "",
    ".",
    "./x",
    "x" * 5000,
]


@pytest.mark.parametrize("name", PATHS, ids=range(len(PATHS)))
def test_a_file_name_that_leaves_its_folder(client: Client, server: Served, name: str) -> None:
    said = client.ask(CREATE, project=client.project, run="r", files=["good.txt", name])
    assert said["status"] == 400, said
    for root in ("files", "storage"):
        raw = f"/{root}/local/{client.project}/r/{quote(name, safe='')[:4000]}"
        assert _raw(server, "GET", raw) in (400, 403, 404, 405, 414), raw
    assert client.files("r") == []


def test_a_path_is_not_resolved_before_it_is_checked(client: Client, server: Served) -> None:
    secret = server.home / "server" / "secret"
    assert secret.exists()
    for path in (
        "../../../../server/secret",
        "..%2f..%2f..%2f..%2fserver%2fsecret",
        "%2e%2e/%2e%2e/%2e%2e/server/secret",
    ):
        assert _raw(server, "GET", f"/files/local/{client.project}/r/{path}") in (400, 404)


def _raw(server: Served, method: str, target: str, *headers: str) -> int:
    """The status for a request written by hand."""
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as raw:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {url.netloc}", "Connection: close", *headers, "", ""]
        raw.sendall("\r\n".join(lines).encode("latin-1", "replace"))
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
    assert b"\r\nX-Evil" not in answer
    return int(answer.split()[1])


def test_headers_cannot_be_injected(client: Client, server: Served) -> None:
    name = "a\r\nX-Evil: 1"
    assert client.ask(CREATE, project=client.project, run="r", files=[name])["status"] == 400
    for target in (
        f"/files/local/{client.project}/r/a%0d%0aX-Evil:%201",
        "/local/demo%0d%0aX-Evil:%201?order=a%0d%0aX-Evil:1",
    ):
        assert _raw(server, "GET", target) in (200, 400, 404)
    assert _raw(server, "GET", "/", "Host: evil.example\r\nX: y") in (400, 403)
    log = server.stderr
    assert "X-Evil: 1\n" not in log


@pytest.mark.parametrize("config", ["{", "[]", "3", "nope"])
def test_a_config_that_is_no_object(client: Client, config: str) -> None:
    said = client.ask(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={"name": "r", "modelName": client.project, "config": config},
    )
    assert said["status"] == 400
    bucket = client.resume("r")
    assert bucket is not None
    assert bucket["config"]["lr"]["value"] == 1


@pytest.mark.parametrize("storage_id", ["", "x", "UnVu", "!!!", "QTp2MTpiOmM6ZA=="])
def test_a_storage_id_that_is_none(client: Client, storage_id: str) -> None:
    said = client.ask("mutation($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=storage_id)
    assert said["status"] == 400


def test_a_query_without_end(client: Client) -> None:
    said = client.ask("{ viewer { id } }" + " " * 200_000)
    assert said["status"] == 413
    nested = (
        '{ project(name: "p") { run(name: "r") ' + '{ project { run(name: "r") ' * 200 + "{ id }" + "} }" * 200 + "} }"
    )
    assert "errors" in client.ask(nested)


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "BREW"])
def test_a_method_that_is_not_for_it(client: Client, server: Served, method: str) -> None:
    assert _raw(server, method, "/graphql") == (400 if method == "BREW" else 405)


def test_a_request_that_is_no_http(server: Served, client: Client) -> None:
    url = urlsplit(server.url)
    with socket.create_connection((url.hostname, url.port), timeout=10) as raw:
        raw.sendall(b"\x16\x03\x01\x02\x00\x01\x00 hello\r\n\r\n")
        assert b"400" in raw.recv(1000)
