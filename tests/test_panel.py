"""The sidebar in a real JupyterLab, with real kernels: what it shows, and how a run goes on after its kernel died."""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store

from . import panel as sidebar
from .panel import Panel
from .test_browser import ARTIFACTS, Lab, browser

__all__ = ["browser"]  # pytest's fixture

PLUGIN = "jupyter-resume"
ROUTES = "**/jupyter-resume/api/**"
EXPOSE = """new MutationObserver(() => {
  const config = document.getElementById('jupyter-config-data');
  if (config?.textContent.includes('"exposeAppInBrowser": false')) {
    config.textContent = config.textContent.replace('"exposeAppInBrowser": false', '"exposeAppInBrowser": true');
  }
}).observe(document, {childList: true, subtree: true})"""
"""Lets a test look into JupyterLab's own objects, as `LabApp.expose_app_in_browser` does."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Lab]:
    sidebar.need_built()
    lab = Lab(tmp_path_factory.mktemp("lab"), sidebar=True)
    with lab.server:
        yield lab


@pytest.fixture
def opened(lab: Lab, browser: Any, request: pytest.FixtureRequest) -> Iterator[Callable[..., Panel]]:
    """Open a notebook's page with its sidebar; kernels and pages are gone after the test."""
    pages: list[Any] = []
    failed = request.session.testsfailed

    def open_(path: str, theme: str = "Light", before: Callable[[Any], None] | None = None) -> Panel:
        lab.set("themes", theme=f"JupyterLab {theme}")
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        pages.append(page)
        page.set_default_timeout(40_000)
        if before:
            before(page)
        page.goto(f"{lab.server.url}/lab/tree/{path}?reset&token={lab.server.token}")
        page.get_by_text("Python 3 (ipykernel) |").first.wait_for()
        return Panel(page).show()

    yield open_
    for n, page in enumerate(pages):
        if request.session.testsfailed > failed:
            picture(page, f"failed-{request.node.name}-{n}")
        page.close()
    for session in lab.server.request("GET", "/api/sessions").json():
        for pid in lab.server.kernel_pids(session["kernel"]["id"]):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        with contextlib.suppress(requests.HTTPError):  # the server was about to bring the kernel back
            lab.server.request("DELETE", f"/api/sessions/{session['id']}")
    lab.set("recovery", plugin=PLUGIN)


def kill(lab: Lab, path: str) -> None:
    """SIGKILL the kernel of a notebook."""
    sessions = lab.server.request("GET", "/api/sessions").json()
    (pid,) = next(lab.server.kernel_pids(session["kernel"]["id"]) for session in sessions if session["path"] == path)
    os.kill(pid, 9)


def picture(page: Any, name: str) -> None:
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"panel-{name}.png")


def carried_after(lab: Lab, panel: Panel, path: str, run: str) -> dict[str, Any]:
    """What the notebook's file carries once it is saved with that run in it."""
    deadline, found = time.monotonic() + 30, None
    while time.monotonic() < deadline:
        panel.page.keyboard.press("Control+s")
        panel.page.wait_for_function("() => !document.querySelector('.jp-mod-dirty')")
        with contextlib.suppress(requests.HTTPError):  # it is being written
            found = lab.server.notebook(path)["metadata"].get("jupyter_resume")
        if isinstance(found, dict) and found.get("run") == run:
            return found
    raise AssertionError(f"{path} carries {found}")


def steps_of(lab: Lab, path: str) -> list[int]:
    """The steps in a run's record, in order."""
    return [row["_step"] for row in Store(lab.home).record(RunPath(*path.split("/"))).history()]


def idle(page: Any) -> None:
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()


def begun(opened: Callable[..., Panel], path: str, cells: int = 2, **how: Any) -> Panel:
    """The sidebar of a notebook whose first cells were sent to run."""
    panel = opened(path, **how)
    idle(panel.page)
    sidebar.run_first(panel.page, cells)
    return panel


def wait_for_session(lab: Lab, panel: Panel, number: int) -> None:
    """Wait until the run was begun and resumed so many times together, and moves."""
    run_path = RunPath(*panel.node.locator(".jp-Resume-path bdi").inner_text().split("/"))
    deadline = time.monotonic() + 60
    while (tail := Store(lab.home).record(run_path).tail()) is None or tail.point.sessions != number:
        assert time.monotonic() < deadline, f"{tail} is not of {number} sessions"
        panel.page.wait_for_timeout(100)
    panel.wait_for_state("Running")
    panel.wait_for_step(panel.step() + 20)


# A run goes on


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_a_run_whose_kernel_is_killed_goes_on_to_its_end_with_no_row_lost(
    theme: str, lab: Lab, opened: Callable[..., Panel]
) -> None:
    path = f"killed-{theme}.ipynb"
    sidebar.notebook(lab.server, path)
    panel = opened(path, theme)
    page = panel.page
    panel.node.get_by_text("This notebook has no run yet.").wait_for()
    picture(page, f"none-{theme.lower()}")
    idle(page)
    sidebar.run_first(page)
    first = panel.wait_for_step(1)
    panel.wait_for_step(first + 150)
    assert panel.state() == "Running"
    picture(page, f"running-{theme.lower()}")
    page.reload()
    panel.show()
    seen = panel.wait_for_step(first + 150)
    assert panel.state() == "Running", "a reload in mid-run shows the truth"
    kill(lab, path)
    panel.death.get_by_text("The kernel died at").wait_for()
    sidebar.close_dialog(page)
    panel.wait_for_state("Crashed")
    death = " ".join(panel.death.inner_text().split())
    assert "Rows lost 0" in death
    assert "Last saved file: model-best.h5 (12.3 kB)" in death
    assert "Resume runs 2 cells, from the top to the one that was running" in death
    picture(page, f"dead-{theme.lower()}")
    assert sidebar.serious(page, "#jupyter-resume-panel") == []
    run_path = panel.node.locator(".jp-Resume-path bdi").inner_text()
    written = steps_of(lab, run_path)
    assert len(written) >= seen
    panel.resume()
    panel.wait_for_step(len(written) + 50)
    assert panel.state() == "Running"
    picture(page, f"resumed-{theme.lower()}")
    sidebar.finish(lab.server, path)
    panel.wait_for_state("Finished")
    assert panel.node.locator(".jp-Resume-path bdi").inner_text() == run_path
    assert f"resumed at step {len(written):,}" in panel.text
    assert panel.death.count() == 0
    assert steps_of(lab, run_path) == list(range(panel.step()))
    assert page.get_by_text("not to be run again", exact=True).count() == 0
    picture(page, f"finished-{theme.lower()}")
    assert sidebar.serious(page, "#jupyter-resume-panel") == []
    assert sidebar.serious(page, ".jp-Resume-view") == []


def test_a_night_s_training_survives_by_itself(lab: Lab, opened: Callable[..., Panel]) -> None:
    lab.set("recovery", plugin=PLUGIN, autoResume=True, pause=0.5)
    sidebar.notebook(lab.server, "night.ipynb")
    panel = opened("night.ipynb")
    second = opened("night.ipynb")  # two tabs on one notebook: only one of them may act
    idle(panel.page)
    sidebar.run_first(panel.page)
    panel.wait_for_step(50)
    for session in (2, 3):
        kill(lab, "night.ipynb")
        wait_for_session(lab, panel, session)
    sidebar.finish(lab.server, "night.ipynb")
    panel.wait_for_state("Finished")
    run_path = panel.node.locator(".jp-Resume-path bdi").inner_text()
    assert steps_of(lab, run_path) == list(range(panel.step()))
    second.wait_for_state("Finished")


def test_by_itself_ends_at_its_limit_and_can_be_stopped(lab: Lab, opened: Callable[..., Panel]) -> None:
    lab.set("recovery", plugin=PLUGIN, autoResume=True, pause=60, limit=1)
    sidebar.notebook(lab.server, "limit.ipynb")
    panel = begun(opened, "limit.ipynb")
    panel.wait_for_step(10)
    kill(lab, "limit.ipynb")
    panel.death.get_by_text("It resumes by itself in").wait_for()
    sidebar.close_dialog(panel.page)
    picture(panel.page, "counting")
    panel.button("Resume now").click()
    wait_for_session(lab, panel, 2)
    kill(lab, "limit.ipynb")
    panel.death.get_by_text("It resumed by itself 1 time, and does not again.").wait_for()


def test_only_cells_tagged_resume_are_run_if_there_are_any(lab: Lab, opened: Callable[..., Panel]) -> None:
    sidebar.notebook(lab.server, "tagged.ipynb")
    content = lab.server.notebook("tagged.ipynb")
    content["cells"].insert(1, {**content["cells"][2], "id": "costly", "source": "open('costly', 'a').write('1')"})
    for n in (0, 2):
        content["cells"][n]["metadata"]["tags"] = ["resume"]
    lab.server.save("tagged.ipynb", content)
    panel = begun(opened, "tagged.ipynb", cells=3)
    panel.wait_for_step(20)
    kill(lab, "tagged.ipynb")
    panel.death.get_by_text("Resume runs the 2 cells tagged “resume”").wait_for()
    sidebar.close_dialog(panel.page)
    panel.resume()
    sidebar.finish(lab.server, "tagged.ipynb")
    panel.wait_for_state("Finished")
    assert (lab.server.root / "costly").read_text() == "1"


def test_a_past_run_is_resumed_from_the_list(lab: Lab, opened: Callable[..., Panel]) -> None:
    lab.server.create_notebook(
        "past.ipynb",
        [
            "%load_ext jupyter_resume\nimport jupyter_resume as wandb",
            "x = 1",
            "for name in (None,) if 'again' in globals() else ('one', 'two'):\n"
            "    run = wandb.init(project='past', id=name, resume='allow')\n"
            "    run.log({'a': 1.0}); run.finish(bool(name))\nagain = True",
            "print('not to be run again')",
        ],
    )
    panel = opened("past.ipynb")
    idle(panel.page)
    sidebar.run_first(panel.page, cells=3)
    panel.button("Resume one").click()
    asked = panel.page.locator(".jp-Dialog")
    asked.get_by_text("Resume runs 3 cells, from the top to the one in which the run moved last").wait_for()
    assert asked.locator("code").count() == 3
    assert sidebar.serious(panel.page, ".jp-Dialog") == []
    asked.locator(".jp-mod-accept").click()
    panel.wait_for_state("Finished")
    panel.node.locator(".jp-Resume-path", has_text="local/past/one").wait_for()
    assert steps_of(lab, "local/past/one") == [0, 1]
    assert steps_of(lab, "local/past/two") == [0]
    panel.node.get_by_role("button", name="two", exact=False).first.click()
    panel.wait_for_state("Failed")
    panel.button("← This notebook's run").click()
    panel.wait_for_state("Finished")


def test_a_death_that_the_page_did_not_see_is_in_the_record(lab: Lab, opened: Callable[..., Panel]) -> None:
    asleep: list[bool] = []

    def go_between(page: Any) -> None:
        def connect(socket: Any) -> None:
            kernel = socket.connect_to_server()
            socket.on_message(kernel.send)
            kernel.on_message(lambda message: None if asleep else socket.send(message))

        page.route_web_socket("**/channels*", connect)

    sidebar.notebook(lab.server, "asleep.ipynb")
    panel = begun(opened, "asleep.ipynb", before=go_between)
    panel.wait_for_step(20)
    asleep.append(True)
    kill(lab, "asleep.ipynb")
    panel.wait_for_state("Crashed")
    panel.death.get_by_text("This run was cut off at step").wait_for()
    assert panel.death.get_by_role("button", name="Resume", exact=True).is_enabled()


def run_cells(lab: Lab, path: str) -> list[str]:
    """What the cells of `several` have said so far, in order."""
    return (lab.server.root / f"{path}.ran").read_text().split()


def several(lab: Lab, path: str) -> None:
    """A notebook whose training is in its third cell; each cell notes that it ran."""
    note = f"# cell {{0}}\nopen({str(lab.server.root / path) + '.ran'!r}, 'a').write('{{0}} ')\n"
    train = sidebar.TRAIN.format(steps=100_000, end=lab.server.root / f"{path}.end")
    cells = (sidebar.BEGIN, "x = 1", train, "run.notes = 'plotted'", "late = 1")
    lab.server.create_notebook(path, [note.format(n) + code for n, code in enumerate(cells)])


@pytest.mark.parametrize("when", ["in the cell", "after a cell that moved nothing"])
def test_another_browser_resumes_up_to_the_cell_that_trained(
    when: str, lab: Lab, browser: Any, opened: Callable[..., Panel]
) -> None:
    path = f"elsewhere-{len(when)}.ipynb"
    several(lab, path)
    first = browser.new_context(viewport={"width": 1400, "height": 1000})
    page = first.new_page()
    page.set_default_timeout(40_000)
    page.goto(f"{lab.server.url}/lab/tree/{path}?reset&token={lab.server.token}")
    idle(page)
    panel = Panel(page).show()
    sidebar.run_first(page, cells=3)
    panel.wait_for_step(30)
    if when != "in the cell":
        page.keyboard.press("i")
        page.keyboard.press("i")
        idle(page)
        page.keyboard.press("Shift+Enter")
        page.wait_for_function("() => document.querySelectorAll('.jp-InputArea-prompt')[3].innerText.includes('[4]')")
    run_path = panel.node.locator(".jp-Resume-path bdi").inner_text()
    kill(lab, path)
    last = "the one that was running" if when == "in the cell" else "the one in which the run moved last"
    panel.death.get_by_text(f"Resume runs 3 cells, from the top to {last}").wait_for()
    first.close()
    reached = len(steps_of(lab, run_path))
    second = opened(path)
    assert not second.page.evaluate("() => Object.keys(localStorage).some(key => key.startsWith('jupyter-resume:'))")
    second.death.get_by_text("This run was cut off at step").wait_for()
    second.death.get_by_text(f"Resume runs 3 cells, from the top to {last}").wait_for()
    shown = [code.split(" ⏎ ")[0] for code in second.death.locator("code").all_inner_texts()]
    assert shown == ["# cell 0", "# cell 1", "# cell 2"]
    picture(second.page, f"elsewhere-{len(when)}")
    idle(second.page)
    second.resume()
    second.wait_for_step(reached + 30)
    assert second.node.locator(".jp-Resume-path bdi").inner_text() == run_path
    picture(second.page, f"elsewhere-resumed-{len(when)}")
    sidebar.finish(lab.server, path)
    second.wait_for_state("Finished")
    before = ["0", "1", "2"] if when == "in the cell" else ["0", "1", "2", "3"]
    assert run_cells(lab, path) == [*before, "0", "1", "2"]
    assert steps_of(lab, run_path) == list(range(second.step()))


def test_all_cells_are_proposed_where_the_training_cell_is_gone_or_the_server_too_old_to_say(
    lab: Lab, opened: Callable[..., Panel]
) -> None:
    def older(page: Any) -> None:
        def answer(route: Any) -> None:
            found = route.fetch()
            if found.status != 200:
                route.fulfill(response=found)
                return
            told = found.json()
            route.fulfill(response=found, json={**told, "run": {**told["run"], "cell": None}})

        page.route("**/jupyter-resume/api/v1/runs/*/*/*", answer)

    path = "gone.ipynb"
    several(lab, path)
    panel = opened(path, before=older)
    idle(panel.page)
    sidebar.run_first(panel.page, cells=3)
    panel.wait_for_step(30)
    kill(lab, path)
    sidebar.close_dialog(panel.page)
    panel.death.get_by_text("Resume runs 3 cells, from the top to the one that was running").wait_for()
    ignorant = opened(path, before=older)
    ignorant.death.get_by_text("Resume runs all 5 cells, as it is not known which was running").wait_for()
    content = lab.server.notebook(path)
    content["cells"][2]["id"] = "another"
    lab.server.save(path, content)
    changed = opened(path)
    changed.death.get_by_text(
        "Resume runs all 5 cells of this notebook, as the cell that the run was in is not there"
    ).wait_for()
    assert changed.death.locator("code").count() == 5
    picture(changed.page, "gone")
    sidebar.finish(lab.server, path)


def test_a_death_is_told_where_nobody_sees_the_sidebar(lab: Lab, opened: Callable[..., Panel]) -> None:
    sidebar.notebook(lab.server, "closed.ipynb")
    panel = opened("closed.ipynb")
    page = panel.page
    idle(page)
    page.locator(".jp-SideBar [data-id='jupyter-resume-panel']").click()
    panel.node.wait_for(state="hidden")
    sidebar.run_first(page)
    page.locator(".jp-Resume-status", has_text="Running, step").wait_for()
    kill(lab, "closed.ipynb")
    page.locator(".jp-Dialog").wait_for()
    sidebar.close_dialog(page)
    told = page.locator(".jp-toastContainer, .Toastify__toast").get_by_text("The kernel died at step").first
    told.wait_for()
    page.get_by_role("button", name="Show", exact=True).click()
    panel.resume()
    panel.wait_for_state("Running")
    told.wait_for(state="hidden")
    sidebar.finish(lab.server, "closed.ipynb")


def test_each_plugin_can_be_switched_off_alone(tmp_path: Path, browser: Any) -> None:
    lab = Lab(
        tmp_path, sidebar=True, off=("jupyter-resume:recovery", "jupyter-resume:status", "jupyter-resume:identity")
    )
    with lab.server:
        sidebar.notebook(lab.server, "off.ipynb")
        page = lab.open(browser, "off.ipynb")
        panel = Panel(page).show()
        sidebar.run_first(page)
        panel.wait_for_step(10)
        kill(lab, "off.ipynb")
        panel.death.get_by_text("Resuming is switched off here").wait_for()
        assert panel.death.get_by_role("button").count() == 0
        assert page.locator(".jp-Resume-status").count() == 0
        page.close()


# Which notebook


def test_a_renamed_notebook_keeps_its_run_and_a_copy_gets_its_own(lab: Lab, opened: Callable[..., Panel]) -> None:
    sidebar.notebook(lab.server, "first.ipynb", steps=30)
    panel = begun(opened, "first.ipynb")
    panel.wait_for_state("Finished")
    run_path = panel.node.locator(".jp-Resume-path bdi").inner_text()
    carried = carried_after(lab, panel, "first.ipynb", run_path)
    assert set(carried) == {"version", "notebook_id", "run"}
    copy = lab.server.copy("first.ipynb")
    other = opened(copy)
    other.node.get_by_text(f"This notebook has no run here yet: {run_path} was its last, or its original's.").wait_for()
    idle(other.page)
    sidebar.run_first(other.page)
    other.wait_for_state("Finished")
    their_run = other.node.locator(".jp-Resume-path bdi").inner_text()
    assert their_run != run_path
    assert carried_after(lab, other, copy, their_run)["notebook_id"] != carried["notebook_id"]
    lab.server.rename("first.ipynb", "moved/renamed.ipynb")
    again = opened("moved/renamed.ipynb")
    again.node.locator(".jp-Resume-path", has_text=run_path).wait_for()
    assert lab.server.notebook("moved/renamed.ipynb")["metadata"]["jupyter_resume"] == carried


def test_a_notebook_made_anew_at_the_path_of_a_deleted_one_begins_a_run_and_has_an_id_of_its_own(
    lab: Lab, opened: Callable[..., Panel]
) -> None:
    path = "anew.ipynb"
    sidebar.notebook(lab.server, path, steps=5)
    old = opened(path)
    idle(old.page)
    sidebar.run_first(old.page)
    old.wait_for_state("Finished")
    run_path = old.node.locator(".jp-Resume-path bdi").inner_text()
    theirs = carried_after(lab, old, path, run_path)["notebook_id"]
    old.page.close()
    for session in lab.server.request("GET", "/api/sessions").json():
        lab.server.request("DELETE", f"/api/sessions/{session['id']}")
    lab.server.delete(path)
    lab.server.create_notebook(path, [])
    panel = opened(path)
    idle(panel.page)
    panel.node.get_by_text("This notebook has no run yet.").wait_for()
    panel.page.locator(".jp-Cell .cm-content").first.click()
    panel.page.keyboard.insert_text("%load_ext jupyter_resume\nrun = %wb_init --project panel --resume allow")
    panel.page.keyboard.press("Shift+Enter")
    panel.wait_for_state("Running")
    run = panel.node.locator(".jp-Resume-path bdi").inner_text()
    assert run != run_path
    assert carried_after(lab, panel, path, run)["notebook_id"] != theirs


@pytest.mark.parametrize("foreign", ["text", [1, 2], {"notebook_id": "<script>", "run": 7}, {"theirs": True}])
def test_a_foreign_key_in_the_notebook_does_no_harm(foreign: object, lab: Lab, opened: Callable[..., Panel]) -> None:
    path = f"foreign-{uuid.uuid4().hex}.ipynb"
    sidebar.notebook(lab.server, path, steps=5)
    content = lab.server.notebook(path)
    lab.server.save(path, {**content, "metadata": {**content["metadata"], "jupyter_resume": foreign}})
    panel = begun(opened, path)
    panel.wait_for_state("Finished")
    carried = carried_after(lab, panel, path, panel.node.locator(".jp-Resume-path bdi").inner_text())
    assert carried["notebook_id"] != "<script>"
    assert carried.get("theirs") == (True if foreign == {"theirs": True} else None)


@pytest.mark.parametrize("writable", [True, False])
def test_nothing_is_written_into_a_notebook_that_is_read_only(
    writable: bool, lab: Lab, opened: Callable[..., Panel]
) -> None:
    path = f"writable-{writable}.ipynb"
    sidebar.notebook(lab.server, path, steps=5)

    def change(page: Any) -> None:
        def contents(route: Any) -> None:
            model = route.fetch()
            route.fulfill(response=model, json={**model.json(), "writable": writable})

        page.route(f"**/api/contents/{path}?*", contents)
        page.add_init_script(EXPOSE)

    panel = opened(path, before=change)
    idle(panel.page)
    with panel.page.expect_response(lambda answer: answer.request.method == "PUT" and "/api/v1/notebook" in answer.url):
        sidebar.run_first(panel.page)  # the sidebar asks for the notebook's id, and then may write it
    panel.wait_for_state("Finished")
    carried = (
        "() => window.jupyterapp.shell.currentWidget.context.model.getMetadata('jupyter_resume')?.run?.length ?? 0"
    )
    if writable:
        panel.page.wait_for_function(carried)
    assert (panel.page.evaluate(carried) > 0) is writable


# Files and notes


def test_a_file_is_restored_and_downloaded_and_notes_are_written(lab: Lab, opened: Callable[..., Panel]) -> None:
    sidebar.notebook(lab.server, "files/files.ipynb", steps=20)
    panel = begun(opened, "files/files.ipynb")
    page = panel.page
    panel.wait_for_state("Finished")
    file = lab.server.root / "files" / "model-best.h5"
    file.unlink()
    panel.button("Restore model-best.h5").click()
    files = panel.section("Files")
    files.locator(".jp-mod-there").wait_for()
    assert file.read_bytes() == b"w" * 12345
    file.write_bytes(b"mine")
    panel.button("Restore model-best.h5").click()
    panel.button("Keep it").click()
    assert file.read_bytes() == b"mine"
    panel.button("Restore model-best.h5").click()
    picture(page, "differs")
    panel.button("Replace it").click()
    files.locator(".jp-mod-there").wait_for()
    assert file.read_bytes() == b"w" * 12345
    with page.expect_download() as download:
        panel.node.get_by_role("link", name="Download model-best.h5").click()
    assert Path(download.value.path()).read_bytes() == b"w" * 12345
    notes = panel.node.get_by_label("Notes of this run")
    assert notes.input_value() == "second try"
    notes.fill("third try\n<b>bold</b> שלום")
    panel.button("Save notes").click()
    panel.section("Notes").get_by_text("Saved.").wait_for()
    run_path = panel.node.locator(".jp-Resume-path bdi").inner_text()
    page.reload()
    panel.show()
    page.wait_for_function("() => document.querySelector('.jp-Resume-notes')?.value.startsWith('third try')")
    assert panel.node.get_by_label("Notes of this run").input_value() == "third try\n<b>bold</b> שלום"
    assert run_path == panel.node.locator(".jp-Resume-path bdi").inner_text()


# States


def test_a_server_without_routes_with_old_ones_or_none_at_all_is_told(lab: Lab, opened: Callable[..., Panel]) -> None:
    sidebar.notebook(lab.server, "states.ipynb", steps=20)
    panel = opened("states.ipynb", before=lambda page: page.route(ROUTES, lambda route: route.fulfill(status=404)))
    page = panel.page
    panel.node.get_by_text("this server runs without the jupyter_resume.lab extension").wait_for()
    idle(page)
    sidebar.run_first(page)
    panel.wait_for_state("Finished")  # by what the kernel shows
    assert panel.step() == 20
    assert panel.section("Metrics").locator("svg").count() == 2
    assert sidebar.serious(page, "#jupyter-resume-panel") == []
    picture(page, "absent")
    page.unroute(ROUTES)
    page.route(ROUTES, lambda route: route.fulfill(json={"api": 0, "version": "0.0.1"}))
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    panel.node.get_by_text("the server runs jupyter-resume 0.0.1, which is too old").wait_for()
    page.unroute(ROUTES)
    page.route(ROUTES, lambda route: route.abort())
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    panel.node.get_by_text("The Jupyter server does not answer").wait_for()
    assert "Failed to fetch" not in panel.text
    picture(page, "offline")
    page.unroute(ROUTES)
    panel.button("Try again").click()
    panel.button("Restore model-best.h5").wait_for()
    assert panel.node.locator(".jp-mod-trouble").count() == 0


def test_a_cell_that_begins_a_run_is_inserted(lab: Lab, opened: Callable[..., Panel]) -> None:
    lab.server.create_notebook("begin.ipynb", ["print('here already')"])
    panel = opened("begin.ipynb")
    idle(panel.page)
    panel.button("Insert a cell that begins one").click()
    sidebar.run_first(panel.page, cells=1)
    panel.wait_for_state("Running")
    assert panel.step() == 0


def test_names_with_markup_of_any_length_and_direction_stay_text(lab: Lab, opened: Callable[..., Panel]) -> None:
    evil = "<img src=x onerror='document.title=1'><script>document.title=2</script>"
    lab.server.create_notebook(
        "evil.ipynb",
        [
            "%load_ext jupyter_resume\nimport jupyter_resume as wandb",
            f"name = {evil!r} + 'שלום עולם \\u202eabc 🙂' + 'x' * 10_000\n"
            "run = wandb.init(project='evil', name=name, notes=name, config={name: name})\n"
            "open('<b>&.bin', 'wb').write(b'1'); run.save('<b>&.bin')\n"
            "for n in range(9): run.log({name[:900]: n, 'evil': name, 'ok': 1.0})\n"
            "%wb_status",
        ],
    )
    panel = begun(opened, "evil.ipynb")
    page = panel.page
    panel.wait_for_step(9)
    panel.button("Restore <b>&.bin").wait_for()
    assert "<img src=x onerror=" in panel.text
    assert panel.node.locator("img, script").count() == 0
    assert page.locator(".jp-OutputArea-output img, .jp-OutputArea-output script").count() == 0
    assert not page.title().isdigit()
    assert panel.node.evaluate("node => node.scrollWidth <= node.clientWidth")
    picture(page, "evil")
    assert sidebar.serious(page, "#jupyter-resume-panel") == []


# By keyboard


def test_all_of_it_is_reached_by_keyboard(lab: Lab, opened: Callable[..., Panel]) -> None:
    sidebar.notebook(lab.server, "keys.ipynb")
    panel = begun(opened, "keys.ipynb")
    page = panel.page
    panel.wait_for_step(20)
    kill(lab, "keys.ipynb")
    panel.death.wait_for()
    page.keyboard.press("Enter")  # JupyterLab's dialog
    page.locator(".jp-Dialog").wait_for(state="detached")
    page.keyboard.press("Control+Shift+c")
    page.locator("#modal-command-palette .lm-CommandPalette-input").fill("Show the Run of This Notebook")
    page.keyboard.press("Enter")
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        name = page.evaluate(
            "() => document.activeElement.closest('#jupyter-resume-panel') &&"
            " (document.activeElement.ariaLabel || document.activeElement.innerText || document.activeElement.type)"
        )
        if name is None:
            break
        reached.append(" ".join(name.split()))
    for wanted in ("Resume", "Copy the path of the run", "Restore model-best.h5", "Download model-best.h5"):
        assert wanted in reached, reached
    for wanted in ("Notes of this run", "This notebook", "Project", "All", "Search runs by name or id"):
        assert wanted in reached, reached
    panel.death.get_by_role("button", name="Resume", exact=True).focus()
    page.keyboard.press("Enter")
    sidebar.finish(lab.server, "keys.ipynb")
    panel.wait_for_state("Finished")


# Many


def test_ten_thousand_runs_and_a_hundred_long_curves_keep_every_frame_short(
    lab: Lab, opened: Callable[..., Panel], browser: Any
) -> None:
    store = Store(lab.home)
    assert store.catalog.runs() is not None
    with contextlib.closing(sqlite3.connect(store.catalog.file)) as db, db:
        db.executemany(
            "INSERT INTO runs (entity, project, run_id, name, state, last_step, rows, created, updated, origin) "
            "VALUES ('local', 'many', ?, ?, 'finished', 9, 10, ?, ?, 'null')",
            ((f"run{n:05}", f"name {n}", float(n), float(n)) for n in range(10_000)),
        )
    lab.server.create_notebook(
        "many.ipynb",
        [
            "%load_ext jupyter_resume\nrun = %wb_init --project many --resume allow",
            "import math, time\nwhile run.step < 4000:\n"
            "    run.log({f'm{k}': math.sin(run.step / (k + 9)) for k in range(100)})\n"
            "for _ in range(600):\n"
            "    run.log({f'm{k}': 0.5 for k in range(100)})\n    time.sleep(0.02)",
        ],
    )
    panel = begun(opened, "many.ipynb")
    page = panel.page
    panel.wait_for_step(4000)
    panel.section("Metrics").get_by_text("Show 92 more").click()
    panel.button("All").click()
    panel.section("Runs").get_by_text("name 9999").wait_for()
    browser.start_tracing(page=page, categories=["toplevel"])
    for n in range(6):
        shown = panel.section("Runs").locator(".jp-Resume-run").count()
        panel.section("Runs").locator(".jp-Resume-more").click()
        page.wait_for_function("shown => document.querySelectorAll('.jp-Resume-run').length > shown", arg=shown)
        panel.node.evaluate("(node, n) => node.scrollTo(0, n % 2 ? 0 : node.scrollHeight)", n)
    search = panel.node.get_by_label("Search runs by name or id")
    search.fill("name 77")
    panel.section("Runs").get_by_text("name 7777", exact=True).wait_for()
    picture(page, "many")
    page.wait_for_function("until => performance.now() > until", arg=page.evaluate("performance.now()") + 2000)
    events = json.loads(browser.stop_tracing())["traceEvents"]
    tasks = sorted(event.get("tdur", 0) / 1000 for event in events if event["name"].endswith("RunTask"))
    (ARTIFACTS / "panel-frames.json").write_text(json.dumps(tasks[-50:]))
    assert tasks, {event["name"] for event in events}
    assert tasks[-1] < 100, f"milliseconds of the processor for one task: {tasks[-9:]}"
