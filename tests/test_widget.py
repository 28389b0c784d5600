"""RunWidget without a browser: what it sends, what a page shows of it, and what its buttons do."""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipykernel.ipkernel  # noqa: F401 - it sets comm.create_comm as it is imported, which the fixture replaces
import pytest
from comm.base_comm import BaseComm

import jupyter_resume as wandb
from jupyter_resume import errors, view
from jupyter_resume.identity import RunPath
from jupyter_resume.notebook import live
from jupyter_resume.notebook.widget import RunWidget
from jupyter_resume.render import MIME
from jupyter_resume.store.home import Store

from .kernel import Kernel
from .shell import Shell
from .test_view import NASTY
from .test_view import Page as Html

VIEW = "application/vnd.jupyter.widget-view+json"


class Wire:
    """What goes over comms to a page: kept, and applied as the page applies it."""

    def __init__(self) -> None:
        self.comms: dict[str, BaseComm] = {}
        self.state: dict[str, dict[str, Any]] = {}
        self.sent: list[tuple[float, str, str]] = []
        """When, of which comm, of which type."""

    def create(self, **arguments: Any) -> BaseComm:
        """As `comm.create_comm`."""
        wire = self

        class Comm(BaseComm):  # type: ignore[misc]
            def publish_msg(self, msg_type: str, data: Any = None, *_: Any, **__: Any) -> None:
                wire.sent.append((time.monotonic(), self.comm_id, msg_type))
                if msg_type == "comm_open":
                    wire.comms[self.comm_id] = self
                if msg_type == "comm_close":
                    del wire.state[self.comm_id]
                elif data.get("method", "update") == "update":
                    wire.state.setdefault(self.comm_id, {}).update(data["state"])

        return Comm(**arguments)

    def updates(self, since: float) -> list[float]:
        """When each update was sent."""
        return [at for at, _, kind in self.sent if kind == "comm_msg" and at >= since]

    def receive(self, comm_id: str, **data: Any) -> None:
        """What a page sends."""
        self.comms[comm_id].handle_msg({"content": {"comm_id": comm_id, "data": data}, "buffers": []})


class PageOf:
    """A widget as a page has it, seen through the wire alone."""

    def __init__(self, wire: Wire, widget: RunWidget) -> None:
        self.wire, self.box = wire, widget.model_id

    def _children(self, comm_id: str) -> list[str]:
        return [child.removeprefix("IPY_MODEL_") for child in self.wire.state[comm_id]["children"]]

    @property
    def html(self) -> str:
        html: str = self.wire.state[self._children(self.box)[0]]["value"]
        return html

    @property
    def text(self) -> str:
        return Html(self.html).text

    @property
    def message(self) -> str:
        return Html(self.wire.state[self._children(self.box)[1]]["value"]).text

    @property
    def controls(self) -> dict[str, str]:
        """The comms of the buttons, by what stands on them; ``files`` is the list."""
        comms = self._children(self._children(self.box)[2])
        return {self.wire.state[comm_id].get("description") or "files": comm_id for comm_id in comms}

    @property
    def files(self) -> list[str]:
        names: list[str] = self.wire.state[self.controls["files"]]["_options_labels"]
        return list(names)

    @property
    def chosen(self) -> str:
        return self.files[self.wire.state[self.controls["files"]]["index"]]

    def enabled(self, button: str) -> bool:
        return not self.wire.state[self.controls[button]]["disabled"]

    def choose(self, name: str) -> None:
        self.wire.receive(self.controls["files"], method="update", state={"index": self.files.index(name)})

    def press(self, button: str) -> None:
        self.wire.receive(self.controls[button], method="custom", content={"event": "click"})


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> Iterator[Wire]:
    wire = Wire()
    monkeypatch.setattr("comm.create_comm", wire.create)
    yield wire
    live.end_all()


class Page(Shell):
    """A shell and what a page of it shows."""

    @property
    def page(self) -> list[dict[str, Any]]:
        """The bundles that a page shows, brought up to date."""
        shown: dict[str, dict[str, Any]] = {}
        for output in self.display_pub.outputs:
            display_id = output["transient"]["display_id"]
            assert (display_id in shown) is output["update"]
            shown[display_id] = output["data"]
        return list(shown.values())


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wire: Wire) -> Iterator[Page]:
    (tmp_path / "ipython").mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("WANDB_NOTEBOOK_NAME", "train.ipynb")
    shell = Page()
    shell.extension_manager.load_extension("jupyter_resume")
    shell.cell("%config ResumeMagics.display = False")
    yield shell
    shell.extension_manager.unload_extension("jupyter_resume")


def soon(true: Any, what: str) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def saved(run: wandb.Run, **contents: bytes) -> None:
    """Files of a run, by name and content, that are nowhere but in the run."""
    for name, content in contents.items():
        Path(name).write_bytes(content)
        run.save(name, policy="now")
        Path(name).unlink()


# What it shows


def test_it_shows_what_the_plain_display_shows(wire: Wire) -> None:
    run = wandb.init(project="p", id="one", name="night run", notes="second try")
    run.log({"loss": 1.0})
    run.log({"loss": 0.5})
    page = PageOf(wire, RunWidget(run))
    for part in ("local/p/one", "night run", "running", "step 2", "loss0.5", "second try"):
        assert part in page.text
    assert "<polyline" in page.html
    assert list(page.controls) == ["Finish"]
    assert page.message == ""


@pytest.mark.parametrize(("logged", "percent"), [(0, "0.0"), (5, "50.0"), (10, "100.0"), (13, "100.0")])
def test_with_a_total_the_steps_are_progress(logged: int, percent: str, wire: Wire) -> None:
    run = wandb.init(project="p")
    for _ in range(logged):
        run.log({"loss": 1.0})
    widget = RunWidget(run, total=10)
    page = PageOf(wire, widget)
    assert f"step {logged} of 10" in page.text
    assert f"step {logged} of 10," in widget._repr_mimebundle_()["text/plain"]
    assert f'aria-valuenow="{min(logged, 10)}"' in page.html
    assert f"width:{percent}%" in page.html


def test_without_a_total_there_is_a_count_and_no_bar(wire: Wire) -> None:
    page = PageOf(wire, RunWidget(wandb.init(project="p")))
    assert "step 0 ·" in page.text
    assert "progressbar" not in page.html


def test_a_total_is_the_runs_from_then_on(wire: Wire, store: Store) -> None:
    with wandb.init(project="p", id="one") as run:
        RunWidget(run, total=10)
    tail = store.record(RunPath("local", "p", "one")).tail()
    assert tail is not None
    assert view.of_record(store, tail).total == 10
    assert "of 10" in PageOf(wire, RunWidget(wandb.init(project="p", id="one", resume="must"))).text


@pytest.mark.parametrize("total", [0, -1, True, 2.5, "many", 1 << 60])
def test_a_total_that_is_no_number_of_steps_is_refused(total: Any, wire: Wire) -> None:
    with pytest.raises(errors.InvalidInput, match="is no number of steps: pass a positive integer"):
        RunWidget(wandb.init(project="p"), total=total)
    assert wire.sent == []


def test_a_run_that_has_ended_has_no_widget(wire: Wire) -> None:
    run = wandb.init(project="p", id="one")
    run.finish()
    with pytest.raises(errors.RunClosed, match="continues it"):
        RunWidget(run)
    assert wire.sent == []


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_what_users_write_is_shown_as_text(text: str, wire: Wire) -> None:
    run = wandb.init(project="p", name=text or None, notes=text)
    name = re.sub(r"[\x00-\x1f/\ud800-\udfff]", "", text)[:60].strip() or "x"
    saved(run, plain=b"1", **{name: b"2"})
    with contextlib.suppress(errors.ResumeError):
        run.log({text or "loss": 1.0, "ok": 2.0})
    widget = RunWidget(run)
    page = PageOf(wire, widget)
    html = Html(page.html)
    assert set(html.tags) <= {"div", "b", "bdi", "span", "table", "tr", "td", "svg", "title", "polyline"}
    assert {name for name, _ in html.attributes} <= {"style", "colspan"}
    for label in page.files:
        assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e\ud800-\udfff]", label)
        assert len(label) <= 80
    widget._say(text, bad=True)
    assert set(Html(wire.state[page._children(page.box)[1]]["value"] if text else "").tags) <= {"div", "bdi"}
    assert len(page.message) <= 600
    page.press("Restore")
    assert "restored and verified" in page.message
    assert Path(run.dir, name).read_bytes() == b"2"


# How much it sends


def test_ten_thousand_rows_are_five_messages_a_second_and_the_last_is_right(wire: Wire) -> None:
    run = wandb.init(project="p")
    page = PageOf(wire, RunWidget(run))
    began = time.monotonic()
    for n in range(10_000):
        run.log({"loss": n})
        if not n % 100:
            time.sleep(0.015)
    live.after_cell()
    seconds = time.monotonic() - began
    sent = wire.updates(began)
    assert 3 <= len(sent) <= 5 * seconds + 2, "one more as the cell ends, one where the clock's grid falls"
    assert {comm_id for at, comm_id, _ in wire.sent if at >= began} == {page._children(page.box)[0]}
    assert "step 10000" in page.text
    assert "loss9999" in page.text


def test_all_that_shows_a_run_shares_the_five_messages(wire: Wire, shell: Page) -> None:
    shell.cell("%config ResumeMagics.display = True")
    run = shell.cell("run = %wb_init --project p\nrun")
    shell.cell("%wb_widget --total 100")
    displayed, began = len(shell.display_pub.outputs), time.monotonic()
    (page,) = [bundle for bundle in shell.page if VIEW in bundle]
    for n in range(150):
        run.log({"loss": n})
        if not n % 10:
            saved(run, **{f"m{n}": b"1"})
        time.sleep(0.02)
    seconds = time.monotonic() - began
    sent = len(wire.updates(began)) + len(shell.display_pub.outputs) - displayed
    assert 3 <= sent <= 5 * seconds + 3, "three go together: two displays, and the names of files"
    assert page[VIEW]["model_id"] in wire.state


def test_nothing_is_sent_while_nothing_moves(wire: Wire) -> None:
    run = wandb.init(project="p")
    RunWidget(run)
    began = time.monotonic()
    time.sleep(0.7)
    assert wire.updates(began) == []


def test_it_follows_by_itself(wire: Wire) -> None:
    run = wandb.init(project="p")
    page = PageOf(wire, RunWidget(run))
    run.log({"loss": 1.0})
    soon(lambda: "step 1" in page.text, "the row is shown")
    run.notes = "better"
    soon(lambda: "better" in page.text, "the notes are shown")


# Its place in a notebook


def test_the_magic_shows_it_once_a_cell_and_there_is_one_for_a_run(wire: Wire, shell: Page) -> None:
    shell.cell("run = %wb_init --project p")
    first = shell.cell("%wb_widget\nw = %wb_widget\nw")
    assert [set(bundle) for bundle in shell.page] == [{VIEW, "text/html", "text/plain"}]
    assert "step 0" in shell.page[0]["text/plain"], "for who opens the notebook without its kernel"
    opened = Counter(kind for _, _, kind in wire.sent)["comm_open"]
    assert shell.cell("%wb_widget --total 9") is first
    assert Counter(kind for _, _, kind in wire.sent)["comm_open"] == opened
    assert [bundle[VIEW]["model_id"] for bundle in shell.page] == [first.model_id] * 2
    assert "of 9" in PageOf(wire, first).text


def test_the_magic_needs_a_run_and_a_sound_total(shell: Page) -> None:
    with pytest.raises(errors.NoRun, match="%wb_widget needs an active run"):
        shell.cell("%wb_widget")
    shell.cell("run = %wb_init --project p")
    with pytest.raises(errors.InvalidInput, match="total=0 is no number of steps"):
        shell.cell("%wb_widget --total 0")
    assert shell.page == []


@pytest.mark.parametrize(
    ("end", "state"),
    [("%wb_finish", "finished"), ("run.finish(1)", "failed"), ("run.close('interrupted')", "interrupted")],
)
def test_at_the_end_plain_html_takes_its_place_and_no_comm_is_left(
    end: str, state: str, wire: Wire, shell: Page
) -> None:
    shell.cell("run = %wb_init --project p\nrun.log({'loss': 1})")
    widget = shell.cell("%wb_widget")
    shell.cell("%wb_widget")
    shell.cell(end)
    for bundle in shell.page:
        assert set(bundle) == {MIME, "text/html", "text/plain"}
        assert (bundle[MIME]["state"], bundle[MIME]["step"]) == (state, 1)
        assert "button" not in bundle["text/html"]
    assert len(shell.page) == 2
    assert wire.state == {}, "every comm that was opened is closed"
    sent = len(wire.sent)
    shell.display_pub.outputs.clear()
    widget.close()
    shell.cell("widget = 1")
    assert (len(wire.sent), shell.page) == (sent, [])


def test_a_widget_displayed_after_the_end_is_plain_html(wire: Wire, shell: Page) -> None:
    shell.cell("run = %wb_init --project p")
    shell.cell("w = %wb_widget")
    shell.cell("%wb_finish")
    shell.display_pub.outputs.clear()
    shell.cell("w")
    (bundle,) = shell.page
    assert set(bundle) == {MIME, "text/html", "text/plain"}
    assert "finished" in bundle["text/plain"]


def test_closed_by_hand_it_leaves_plain_html_and_the_run_goes_on(wire: Wire, shell: Page) -> None:
    run = shell.cell("run = %wb_init --project p\nrun")
    shell.cell("w = %wb_widget")
    shell.cell("w.close()")
    assert "running" in shell.page[0]["text/plain"]
    assert VIEW not in shell.page[0]
    assert wire.state == {}
    run.log({"loss": 1})
    assert shell.cell("%wb_widget") is not None
    assert VIEW in shell.page[1]


def test_without_the_extension_and_a_shell_it_is_text(wire: Wire, capsys: pytest.CaptureFixture[str]) -> None:
    widget = RunWidget(wandb.init(project="p", id="one"))
    assert repr(widget) == "RunWidget(<Run local/p/one running, step 0>)"
    widget.display()
    assert "run local/p/one" in capsys.readouterr().out


# Its buttons


def test_restore_brings_the_chosen_file_back_and_says_so(wire: Wire) -> None:
    run = wandb.init(project="p")
    saved(run, first=b"1", second=b"22")
    page = PageOf(wire, RunWidget(run))
    assert (page.files, page.chosen) == (["first", "second"], "second")
    page.choose("first")
    page.press("Restore")
    target = Path(run.dir, "first")
    assert page.message == f"first (1 byte): restored and verified, {target}"
    assert target.read_bytes() == b"1"
    assert "first (1 byte), verified" in page.text, "the view says it too"
    page.press("Restore")
    assert page.message == f"first (1 byte): in place already, verified, {target}"


def test_a_file_that_cannot_be_restored_is_a_sentence(wire: Wire, store: Store) -> None:
    run = wandb.init(project="p")
    saved(run, model=b"1")
    page = PageOf(wire, RunWidget(run))
    store.blobs(run.run_path).path(run.files["model"].digest).unlink()
    page.press("Restore")
    assert re.fullmatch(r"The content of 'model' is missing from the store \(.*\): save it again.", page.message)
    assert "not restored" in page.text
    assert not Path(run.dir, "model").exists()


def test_another_file_in_the_way_is_replaced_only_when_asked(wire: Wire) -> None:
    run = wandb.init(project="p")
    saved(run, model=b"1")
    target = Path(run.dir, "model")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(b"mine")
    page = PageOf(wire, RunWidget(run))
    page.press("Restore")
    assert page.message == f"{target} is there already, and is another file than the run's. Replace it?"
    assert list(page.controls) == ["Replace it", "Cancel"]
    page.press("Cancel")
    assert (page.message, list(page.controls), target.read_bytes()) == ("", ["files", "Restore", "Finish"], b"mine")
    page.press("Restore")
    page.press("Replace it")
    assert (list(page.controls), target.read_bytes()) == (["files", "Restore", "Finish"], b"1")
    assert "restored and verified" in page.message


def test_a_folder_in_the_way_is_a_sentence_and_no_question(wire: Wire) -> None:
    run = wandb.init(project="p")
    saved(run, model=b"1")
    Path(run.dir, "model").mkdir(parents=True)
    page = PageOf(wire, RunWidget(run))
    page.press("Restore")
    assert "is a folder: pass root= of another place" in page.message
    assert list(page.controls) == ["files", "Restore", "Finish"]


def test_what_nobody_expected_is_a_sentence_too(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    run = wandb.init(project="p")
    saved(run, model=b"1")
    page = PageOf(wire, RunWidget(run))
    monkeypatch.setattr(run, "bring_back", lambda *_, **__: 1 / 0)
    page.press("Restore")
    assert page.message == "ZeroDivisionError: division by zero"


def test_finish_asks_once_more(wire: Wire) -> None:
    run = wandb.init(project="p")
    page = PageOf(wire, RunWidget(run))
    run.log({"loss": 1})
    page.press("Finish")
    assert page.message == "Finish the run at step 1? The next %wb_init then begins a new one."
    assert (list(page.controls), run.closed) == (["Finish it", "Cancel"], False)
    page.press("Cancel")
    assert (list(page.controls), run.closed, page.message) == (["Finish"], False, "")
    page.press("Finish")
    page.press("Finish it")
    assert run.state == "finished"
    assert wire.state == {}


def test_files_that_come_are_offered_and_the_choice_stays(wire: Wire) -> None:
    run = wandb.init(project="p")
    page = PageOf(wire, RunWidget(run))
    saved(run, first=b"1")
    live.flush_all()
    assert (page.files, page.chosen) == (["first"], "first")
    saved(run, second=b"2", third=b"3")
    live.flush_all()
    assert (page.files, page.chosen) == (["first", "second", "third"], "first")
    page.press("Restore")
    assert Path(run.dir, "first").exists()


def test_of_a_thousand_files_the_last_are_offered(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_resume.notebook.widget._MOST_AT_FIRST", 3)
    monkeypatch.setattr("jupyter_resume.notebook.widget._MOST", 5)
    run = wandb.init(project="p")
    saved(run, **{f"m{n}": b"1" for n in range(6)})
    page = PageOf(wire, RunWidget(run))
    assert page.files == ["m3", "m4", "m5"]
    saved(run, **{f"m{n}": b"1" for n in range(6, 10)})
    live.flush_all()
    assert page.files == ["m3", "m4", "m5", "m6", "m7"]


def test_buttons_wait_for_a_cell_that_runs_and_a_question_lapses(wire: Wire) -> None:
    run = wandb.init(project="p")
    saved(run, model=b"1")
    page = PageOf(wire, RunWidget(run))
    page.press("Finish")
    asked = page.controls["Finish it"]
    live.before_cell()
    soon(lambda: "Finish" in page.controls, "the question lapses")
    assert (page.enabled("Restore"), page.enabled("Finish")) == (False, False)
    assert page.message == "A cell is running: Restore and Finish wait until it has ended."
    wire.receive(asked, method="custom", content={"event": "click"})
    assert not run.closed, "a press that was under way as the question lapsed"
    live.after_cell()
    assert (page.enabled("Restore"), page.enabled("Finish"), page.message) == (True, True, "")


def test_a_cell_that_is_over_at_once_changes_no_button(wire: Wire) -> None:
    RunWidget(wandb.init(project="p"))
    began = time.monotonic()
    live.before_cell()
    live.after_cell()
    assert wire.updates(began) == []


def test_pressed_in_another_thread_in_mid_training_nothing_is_lost(wire: Wire, store: Store) -> None:
    """As a page does over a subshell of the kernel."""
    run = wandb.init(project="p", id="one")
    saved(run, model=b"1" * 100_000)
    page = PageOf(wire, RunWidget(run))
    begun = threading.Event()

    def press() -> None:
        begun.wait()
        for _ in range(5):
            page.press("Restore")
            Path(run.dir, "model").unlink()
        page.press("Finish")
        page.press("Finish it")

    page_thread = threading.Thread(target=press)
    page_thread.start()
    logged, deadline = 0, time.monotonic() + 30
    with contextlib.suppress(errors.RunClosed):
        while time.monotonic() < deadline:
            run.log({"loss": logged})
            logged += 1
            begun.set()
    page_thread.join()
    tail = store.record(run.run_path).tail()
    assert tail is not None
    assert (tail.point.state, tail.point.next_step, tail.damaged) == ("finished", logged, 0)
    assert wire.state == {}


def test_a_choice_and_new_files_at_once_end_in_what_the_page_shows(wire: Wire) -> None:
    run = wandb.init(project="p")
    saved(run, a=b"1", b=b"2")
    widget = RunWidget(run)
    page = PageOf(wire, widget)
    stop = threading.Event()

    def come() -> None:
        for n in range(200):
            widget._names.learn(["a", "b", *(f"m{one}" for one in range(n))])
        stop.set()

    coming = threading.Thread(target=come)
    coming.start()
    while not stop.is_set():
        for name in ("a", "b"):
            page.choose(name)
            assert widget._names.chosen() == name
    coming.join()
    assert len(page.files) == 201


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="no fork on this system")
def test_a_forked_child_sends_nothing(wire: Wire, shell: Page) -> None:
    run = shell.cell("run = %wb_init --project p\nrun")
    widget = shell.cell("%wb_widget")

    def in_child() -> None:
        before = len(wire.sent) + len(shell.display_pub.outputs)
        run.log({"loss": 1})
        live.flush_all()
        widget.close()
        assert len(shell.display_pub.outputs) + len(wire.sent) - before == len(wire.comms), "its comms, no display"

    child = multiprocessing.get_context("fork").Process(target=in_child)
    child.start()
    child.join(20)
    assert child.exitcode == 0


# In a real kernel


def test_in_a_kernel_it_is_pressed_between_cells_and_ends_with_the_kernel(home: Path, tmp_path: Path) -> None:
    with Kernel() as kernel:
        kernel.check(
            f"import os, time; os.chdir({str(tmp_path)!r})\nos.environ['JUPYTER_RESUME_HOME'] = {str(home)!r}\n"
            "os.environ['WANDB_NOTEBOOK_NAME'] = 'train.ipynb'\n%load_ext jupyter_resume\n"
            "%config ResumeMagics.display = False\nrun = %wb_init --project p --id one\n"
            "open('m.h5', 'wb').write(b'1'); run.save('m.h5')"
        )
        cell = kernel.check("%wb_widget --total 10000")
        assert set(cell.shown[0]) == {VIEW, "text/html", "text/plain"}
        models = {content["comm_id"]: content["data"]["state"] for content in cell.all("comm_open")}
        restore = next(comm_id for comm_id, state in models.items() if state.get("description") == "Restore")
        training = kernel.check(
            "began = time.monotonic()\nfor n in range(10_000):\n    run.log({'loss': n})\n"
            "    if not n % 100: time.sleep(0.02)\nprint(time.monotonic() - began)"
        )
        seconds = float(training.all("stream")[0]["text"])
        states = [content["data"]["state"] for content in training.all("comm_msg")]
        assert 1 <= len(states) <= 5 * seconds + 6, "with the buttons that waited, as the cell ends"
        assert "step <b>10000</b> of 10000" in [state["value"] for state in states if "step <b>" in str(state)][-1]
        message = {"comm_id": restore, "data": {"method": "custom", "content": {"event": "click"}}}
        kernel.client.shell_channel.send(kernel.client.session.msg("comm_msg", message))
        kernel.wait(cell, lambda: "m.h5 (1 byte): restored and verified" in str(cell.all("comm_msg")))
        kernel.client.shutdown()
        kernel.wait(cell, lambda: {comm["comm_id"] for comm in cell.all("comm_close")} == set(models))
        assert set(cell.shown[0]) == {MIME, "text/html", "text/plain"}
        assert (cell.shown[0][MIME]["state"], cell.shown[0][MIME]["step"]) == ("interrupted", 10_000)
