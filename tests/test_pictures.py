"""The pictures of docs/sidebar.md: a real run, killed and resumed. `make pictures` puts them into docs/images."""

from __future__ import annotations

import base64
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from . import panel as sidebar
from .panel import Panel
from .test_browser import ARTIFACTS, Lab, browser
from .test_panel import idle, kill, lab, opened

__all__ = ["browser", "lab", "opened"]  # pytest's fixtures

FOLDER = Path(os.environ.get("JUPYTER_RESUME_PICTURES") or ARTIFACTS).resolve()
MOST_BYTES = 120_000
FEWER_COLOURS = """async png => {
  const image = new Image();
  image.src = 'data:image/png;base64,' + png;
  await image.decode();
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext('2d');
  context.drawImage(image, 0, 0);
  const pixels = context.getImageData(0, 0, image.width, image.height);
  for (let n = 0; n < pixels.data.length; n++) {
    pixels.data[n] = Math.round(pixels.data[n] / 17) * 17;
  }
  context.putImageData(pixels, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob({type: 'image/png'})).arrayBuffer());
  return Array.from(bytes, byte => String.fromCharCode(byte)).join('');
}"""
"""Sixteen shades of each colour are enough for text and lines, and half the bytes."""
BEGIN = """%load_ext jupyter_resume
run = %wb_init --project mnist --resume allow --name "night run" --config lr=0.02 optimizer=sgd
run.total = 2000"""
TRAIN = """import json, math, random, time

weights = json.load(open(run.restore("weights.json").name)) if run.resumed else {"w": 0.0, "b": 0.0}
while run.step < run.total:
    weights["w"] += 0.003 * (3.0 - weights["w"])
    weights["b"] += 0.002 * (0.5 - weights["b"])
    error = (3.0 - weights["w"]) ** 2 / 9
    run.log({"loss": error + 0.01 * random.random(), "accuracy": 1 - error / 2})
    if run.step % 50 == 0:
        json.dump(weights, open("weights.json", "w"))
        run.save("weights.json", policy="now")
    time.sleep(0.01)
run.finish()"""
SMALLER = """import jupyter_resume as wandb
for rate in (0.001, 0.01, 0.1):
    past = wandb.init(project="mnist", name=f"lr {rate}")
    for step in range(400):
        past.log({"loss": 1 / (1 + rate * step)})
    past.finish(1 if rate == 0.1 else 0)"""


def squeezed(png: bytes) -> bytes:
    """The same picture in fewer bytes: a browser packs its pictures in a hurry."""
    chunks, at = [], 8
    while at < len(png):
        (size,) = struct.unpack_from(">I", png, at)
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + size]))
        at += size + 12
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    packed = [
        *((kind, data) for kind, data in chunks if kind == b"IHDR"),
        (b"IDAT", zlib.compress(pixels, 9)),
        (b"IEND", b""),
    ]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in packed
    )


def picture(page: Any, name: str) -> None:
    """Keep what the page shows, with nothing blinking."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    page.mouse.move(400, 700)
    file = FOLDER / f"sidebar-{name}.png"
    shot = base64.b64encode(page.screenshot(animations="disabled")).decode()
    fewer = page.evaluate(FEWER_COLOURS, shot).encode("latin-1")
    file.write_bytes(squeezed(fewer))
    assert file.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_a_run_in_the_sidebar_is_pictured(theme: str, lab: Lab, opened: Callable[..., Panel]) -> None:
    path = f"{theme.lower()}/train.ipynb"
    lab.server.create_notebook(path, [BEGIN, TRAIN])
    lab.server.create_notebook("others.ipynb", ["%load_ext jupyter_resume", SMALLER])
    others = lab.server.open("others.ipynb")
    if theme == "Light":
        assert [result.status for result in others.run_all()] == ["ok", "ok"]
    others.shutdown()
    panel = opened(path, theme)
    page = panel.page
    page.set_viewport_size({"width": 1080, "height": 720})
    page.locator(".jp-SideBar.jp-mod-left [data-id='filebrowser']").click()
    idle(page)
    sidebar.run_first(page)
    panel.wait_for_step(420)
    picture(page, f"running-{theme.lower()}")
    kill(lab, path)
    panel.death.wait_for()
    sidebar.close_dialog(page)
    panel.wait_for_state("Crashed")
    panel.death.get_by_text("Rows lost").wait_for()
    picture(page, f"dead-{theme.lower()}")
    panel.button("Project").click()
    panel.node.get_by_text("lr 0.01", exact=True).wait_for()
    panel.section("Runs").scroll_into_view_if_needed()
    panel.node.evaluate("node => node.scrollTo(0, node.scrollHeight)")
    if theme == "Light":
        picture(page, "runs-light")
    panel.node.evaluate("node => node.scrollTo(0, 0)")
    panel.resume()
    panel.wait_for_state("Running")
    if theme == "Dark":
        panel.wait_for_step(700)
        picture(page, "resumed-dark")
