"""The pages: what they show, what they escape, and how they look in a browser."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .serving import Client, Served, served

NASTY = '<script>alert("x")</script>&\'"'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server") / "home", "--quiet") as server:
        client = server.client()
        client.upsert(
            "r1", displayName=f"first {NASTY}", notes=f"notes {NASTY}", tags=[NASTY], host=NASTY,
            config={"lr": {"value": 0.1}, NASTY: {"value": NASTY}},
        )  # fmt: skip
        rows = [
            {"_step": n, "_runtime": n, "_timestamp": 1.7e9 + n, "loss": 1 / (n + 1), f"m{NASTY}": n}
            for n in range(100)
        ]
        rows[50]["loss"] = float("nan")
        client.rows("r1", 0, rows)
        client.rows("r1", 0, [{"_step": 0, "_runtime": 0, "_timestamp": 1.8e9, "loss": 9, "who": NASTY}])
        client.rows("r1", 100, [{"_step": 5, "loss": 3}])
        lines = [f"2026-11-21T17:07:39.5 epoch {n}" for n in range(500)] + [
            f"ERROR 2026-11-21T17:07:39 {NASTY}",
            "50%\r100%\x1b[31m red",
        ]
        client.stream("r1", {"files": {"output.log": {"offset": 0, "content": lines}}})
        client.upload("r1", "models/ä b.h5", b"weights")
        client.stream("r1", {"complete": True, "exitcode": 3})
        for n, loss in enumerate([0.3, 0.1, 0.2], 2):
            client.upsert(f"r{n}", summaryMetrics={"loss": loss, "_step": n})
        yield server


@pytest.fixture
def client(server: Served) -> Client:
    """A browser without a key."""
    return server.client(key=None)


def test_the_address_that_the_sdk_prints_shows_the_run(client: Client) -> None:
    page = client.get("/local/demo/runs/r1")
    assert page.status_code == 200
    text = page.text
    for part in ("failed", "exit code 3", "step 99", "lr", "0.1", "notes ", "Conflicts", "1 line kept aside",
                 "Out of order", "epoch 499", "100% red", "models/ä b.h5", "<polyline"):  # fmt: skip
        assert part in text, part
    assert "epoch 100" not in text  # only the end of the output
    assert "50%" not in text


def test_what_users_wrote_is_escaped_everywhere(client: Client) -> None:
    for path in ("/local/demo/runs/r1", "/local/demo", "/"):
        assert "<script" not in client.get(path).text
    assert "&lt;script&gt;" in client.get("/local/demo/runs/r1").text


def test_nothing_is_loaded_from_elsewhere(client: Client) -> None:
    page = client.get("/local/demo/runs/r1")
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_the_files_of_the_page_can_be_downloaded(client: Client) -> None:
    found = re.search(r'href="(/files/[^"]+)"', client.get("/local/demo/runs/r1").text)
    assert found
    assert client.get(found[1]).content == b"weights"


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("summary_metrics.loss", ["r1", "r3", "r4", "r2"]),
        ("-summary_metrics.loss", ["r2", "r4", "r3", "r1"]),
        ("-created_at", ["r4", "r3", "r2", "r1"]),
        ("display_name", ["r1", "r2", "r3", "r4"]),
        ("nonsense'\"<", ["r4", "r3", "r2", "r1"]),
    ],
)
def test_the_runs_of_a_project_are_sorted_as_asked(client: Client, order: str, expected: list[str]) -> None:
    page = client.get("/local/demo", params={"order": order})
    assert re.findall(r'href="/local/demo/runs/(\w+)"', page.text) == expected


def test_the_heads_of_the_columns_turn_the_order(client: Client) -> None:
    page = client.get("/local/demo", params={"order": "-summary_metrics.loss"}).text
    assert 'aria-sort="descending"' in page
    assert "?order=summary_metrics.loss" in page


def test_the_first_page_lists_the_projects(client: Client) -> None:
    assert 'href="/local/demo"' in client.get("/").text


@pytest.mark.parametrize(
    "path", ["/local/demo/runs/none", "/local/demo/runs/a%20b", "/a%3Ab/demo", "/nowhere/at/all", "/x"]
)
def test_a_page_that_is_not_there_is_one_sentence(client: Client, path: str) -> None:
    answer = client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "<h1>" in answer.text


def test_a_run_whose_name_is_only_its_id_and_an_empty_project_have_pages(server: Served, client: Client) -> None:
    assert "r2" in client.get("/local/demo/runs/r2").text
    assert "no runs" in client.get("/local/empty").text


def test_a_run_that_goes_on_is_shown_anew_and_one_that_ended_is_not(client: Client) -> None:
    assert 'http-equiv="refresh"' in client.get("/local/demo/runs/r2").text
    assert 'http-equiv="refresh"' not in client.get("/local/demo/runs/r1").text


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs Chromium")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_shows_the_page_without_errors(server: Served, tmp_path: Path, scheme: str) -> None:
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        try:
            page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
            said: list[str] = []
            page.on("console", lambda message: said.append(message.text))
            page.on(
                "request",
                lambda request: said.append(request.url) if not request.url.startswith((server.url, "data:")) else None,
            )
            page.goto(f"{server.url}/local/demo/runs/r1")
            assert said == []
            assert page.locator("svg polyline").count() > 1
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert dark == ("rgb(17, 17, 19)" if scheme == "dark" else "rgb(252, 252, 253)")
            page.screenshot(path=str(tmp_path / "run.png"), full_page=True)
            page.goto(f"{server.url}/local/demo")
            page.get_by_role("link", name="last step").click()
            assert page.locator("tbody tr").count() == 4
        finally:
            browser.close()
    assert (tmp_path / "run.png").stat().st_size > 10_000
