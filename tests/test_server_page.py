"""The server's pages in a real browser, over runs that a real SDK logged; a screenshot of each lies in artifacts/."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .sdk import ROOT, Sdk, Server, train

playwright = pytest.importorskip("playwright.sync_api")

pytest_plugins = ("tests.sdk_fixtures",)

FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking " \
    "--disable-component-update --disable-sync --host-resolver-rules=MAP|*|~NOTFOUND,EXCLUDE|127.0.0.1"  # fmt: skip
Browser = Page = Any
HOSTILE = "<script>document.title = 'owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def run_url(current: Sdk, server: Server) -> str:
    """A finished run with curves, files, notes that attack, and a sister; the address that the SDK printed for it."""
    init = {
        "name": f"baseline {HOSTILE}",
        "notes": f"first try {HOSTILE}",
        "tags": ["cnn", "<b>bold</b>"],
        "config": {"lr": 0.001, "layers": [64, 64], "optimizer": {"name": "adam", "beta": 0.9}, HOSTILE: HOSTILE},
    }
    rows = [{"loss": math.exp(-n / 20), "accuracy": 1 - math.exp(-n / 30), "lr": 0.001 * 0.98**n} for n in range(120)]
    result = train(current, server, "paged", init=init, rows=rows, files={"model.bin": "weights", "note.txt": "hi"})
    sister = train(current, server, "sister", init={"config": {"lr": 0.01}}, rows=rows[:30], then="raise")
    done = result.result()
    assert done.rc == 0, done.output
    sister.result()
    url: str = done.event("init")["url"]
    assert url in done.output.replace("@{", ""), "the SDK did not print the address"
    return url


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without any way out of loopback."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as machine:
        flags = [flag.replace("|", " ") for flag in FLAGS.split()]
        opened = machine.chromium.launch(executable_path=path, args=flags)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Any]:
    """An empty page that fails the test on a script's error, and on any request that leaves the server."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    troubles: list[str] = []
    opened.on("pageerror", lambda error: troubles.append(str(error)))
    opened.on("console", lambda said: troubles.append(said.text) if said.type == "error" else None)
    opened.on("request", lambda sent: troubles.append(sent.url) if "127.0.0.1" not in sent.url and
              not sent.url.startswith("data:") else None)  # fmt: skip
    yield opened
    opened.close()
    assert troubles == []


def shot(page: Page, name: str) -> Path:
    """A screenshot of the whole page, in artifacts/."""
    folder = ROOT / "artifacts"
    folder.mkdir(exist_ok=True)
    page.screenshot(path=folder / name, full_page=True)
    return folder / name


def test_the_address_that_the_sdk_prints_opens_the_run(page: Page, run_url: str) -> None:
    answer = page.goto(run_url)
    assert answer.status == 200
    body = page.locator("body")
    text = body.inner_text()
    for expected in ("finished", "step 119", "120 rows", "first try", "optimizer", "adam", "model.bin", "loss is"):
        assert expected in text
    assert HOSTILE in text, "the markup of a name was taken away, or run"
    assert page.title() != "owned"
    assert page.locator("script, img").count() == 0
    curves = page.locator("figure:has(svg)")
    assert {"loss", "accuracy", "lr"} <= set(curves.locator("figcaption span").all_inner_texts())
    box = curves.first.locator("svg .course").first.bounding_box()
    assert box["width"] > 100
    assert box["height"] > 30
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    values = page.locator("section:has(#config-title) td, section:has(#summary-title) td")
    assert min(box["width"] for box in map(playwright.Locator.bounding_box, values.all())) > 80, "squeezed values"
    assert shot(page, "server-run.png").stat().st_size > 10_000


def test_a_file_is_downloaded_from_the_page(page: Page, run_url: str) -> None:
    page.goto(run_url)
    with page.expect_download() as download:
        page.get_by_role("link", name="model.bin").click()
    assert Path(download.value.path()).read_text() == "weights"


def test_the_page_fits_a_narrow_dark_screen(browser: Browser, run_url: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page.goto(run_url)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    names = page.get_by_role("link", name="requirements.txt")
    assert names.bounding_box()["width"] > 80, "a name is squeezed"
    shot(page, "server-run-narrow.png")
    page.close()


def test_a_project_lists_its_runs_and_sorts_them(page: Page, run_url: str) -> None:
    page.goto(run_url)
    page.get_by_role("link", name="demo", exact=True).click()
    rows = page.locator("tbody tr")
    assert rows.count() == 2

    def order() -> list[bool]:
        return ["baseline" in text for text in rows.all_inner_texts()]

    broken = [cell.inner_text() for cell in page.locator("td.state, td.n").all()
              if cell.evaluate("(e) => {const r = document.createRange(); r.selectNodeContents(e);"
                               "return r.getClientRects().length}") > 1]  # fmt: skip
    assert broken == [], "a number or a state is broken over two lines"
    page.get_by_role("link", name="step").click()
    first = order()
    page.get_by_role("link", name="step").click()
    assert order() == first[::-1]
    assert page.title() != "owned"
    shot(page, "server-project.png")
    page.get_by_role("link", name="baseline").click()
    assert page.url == run_url


def test_a_run_that_is_not_there_is_a_sentence(browser: Browser, run_url: str) -> None:
    page = browser.new_page()
    answer = page.goto(run_url.replace("paged", "nobody"))
    assert answer.status == 404
    assert "nobody" in page.locator("body").inner_text()
    page.close()


def test_a_conflict_is_shown_above_the_curves(page: Page, server: Server) -> None:
    server.upsert("fought")
    for client, began, start in (("one", 1.7e9, 0), ("two", 1.8e9, 0), ("two", 1.8e9, 3)):
        times = [{"_runtime": n, "_timestamp": began + n, "_step": n} for n in range(start, start + 3)]
        rows = [json.dumps({**time, "loss": 1 / (time["_step"] + 1), "client": client}) for time in times]
        server.post("fought", {"files": {"wandb-history.jsonl": {"offset": start, "content": rows}}})
    held = server.run("fought")
    assert [row["client"] for row in held["rows"]] == ["one"] * 3
    assert held["conflictCount"] == 6
    page.goto(f"{server.url}/{server.entity}/demo/runs/fought")
    conflicts = page.locator("#conflicts")
    assert "6 lines kept aside" in conflicts.inner_text()
    assert conflicts.locator("tbody tr").count() == 6
    assert page.locator("h1, h2").all_inner_texts()[:3] == ["fought", "Conflicts", "Metrics"]
    shot(page, "server-conflict.png")
