"""What is shown of a run: as text, HTML and JSON, and live in a real kernel."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import jupyter_resume as wandb
from jupyter_resume import errors, render, tables, view, wording
from jupyter_resume.identity import RunPath
from jupyter_resume.notebook import live
from jupyter_resume.render import MIME
from jupyter_resume.store.home import Store
from jupyter_resume.store.replica import Replica
from jupyter_resume.sync.background import Background
from jupyter_resume.view import Course, Metric, RunView

from .kernel import Kernel
from .remotes import Tracker

NASTY = {
    "a script": "<script>alert('x')</script>",
    "an image": '"><img src=x onerror=alert(1)>',
    "an entity": "&lt;b&gt; &amp; `${1}`",
    "10,000 characters": "long " * 2000,
    "right to left": "\u202eabc\u202c עברית العربية",
    "emoji": "👩\u200d🔬 🚀 é",
    "a terminal's escapes": "\x1b[2J\x1b[31mred\x07\r\nnext",
    "half a character": "\ud83d broken",
    "only spaces": " \t ",
    "nothing": "",
}


def a_view(**changed: Any) -> RunView:
    values: dict[str, Any] = {
        "path": "local/vision/a1b2c3d4",
        "name": "a1b2c3d4",
        "state": "running",
        "resumed": False,
        "starting_step": 0,
        "reason": "a new run was asked for",
        "step": 3,
        "elapsed": 65.2,
        "at": time.time(),
    }
    return RunView(**values | changed)


class Page(HTMLParser):
    """The elements, attributes and text of a piece of HTML; every element must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        self.tags.append(tag)
        self.attributes += attrs

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(one: RunView) -> str:
    """All three forms, checked to be sound; the text form."""
    data = render.bundle(one)
    assert set(data) == {MIME, "text/html", "text/plain"}
    json.dumps(data, allow_nan=False).encode()
    data["text/html"].encode()
    Page(data["text/html"])
    text: str = data["text/plain"]
    text.encode()
    return text


# What it says


def test_a_view_reads_well_in_a_terminal() -> None:
    loss = Metric("loss", 0.125, (1.0, 0.5, 0.25, 0.125))
    one = a_view(
        name="night run",
        resumed=True,
        starting_step=12,
        reason="it is the unfinished run of this notebook",
        step=640,
        metrics=(loss, Metric("val/accuracy", 0.9, ()), Metric("phase", "warm-up", ())),
        files=(("model.h5", 1234567), ("log.txt", 12)),
        restored=("model.h5 (1.2 MB), verified",),
        not_restored=(("scaler.pt", "Run x has no file 'scaler.pt'"),),
        waiting=3,
        notes="second\ntry",
        at=time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1)),
    )
    assert repr(render.Shown.of(one)) == shown(one) == (
        "run local/vision/a1b2c3d4 (night run)\n"
        "  running, step 640, 1m 05s, resumed at step 12: it is the unfinished run of this notebook,"
        " as of 2026-01-02 03:04\n"
        "  loss               0.125  █▄▂▁\n"
        "  val/accuracy         0.9\n"
        "  phase            warm-up\n"
        "  files         model.h5 (1.2 MB), log.txt (12 bytes)\n"
        "  restored      model.h5 (1.2 MB), verified\n"
        "  not restored  scaler.pt: Run x has no file 'scaler.pt'\n"
        "  waiting       3 lines wait in memory: the disk takes none\n"
        "  notes         second try"
    )  # fmt: skip


def test_what_is_one_is_said_to_be_one() -> None:
    assert "waiting  1 line waits in memory" in shown(a_view(waiting=1))


def test_html_says_the_same_as_text() -> None:
    one = a_view(resumed=True, starting_step=12, reason="because", metrics=(Metric("loss", 0.5, (1, 0.5)),), notes="n")
    page = Page(render.html(one))
    for part in ("local/vision/a1b2c3d4", "running", "step 3", "1m 05s", "resumed at step 12: because", "loss", "0.5"):
        assert part in page.text
    assert "from 1 to 0.5" in page.text, "what stays of a drawing where drawings are stripped"


def test_a_new_run_is_called_new_and_a_resumed_one_resumed() -> None:
    assert render.headline(a_view()) == "new"
    assert render.headline(a_view(resumed=True, starting_step=7, reason="")) == "resumed at step 7"
    assert render.headline(a_view(resumed=True, starting_step=0, reason="3 sessions")) == "resumed: 3 sessions"


def test_html_takes_every_colour_and_font_from_the_theme() -> None:
    for state in ("running", "finished", "failed", "crashed", "interrupted", "taken over"):
        html = render.html(a_view(state=state, metrics=(Metric("loss", 0.5, (1, 0.5)),), waiting=1))
        without_variables = re.sub(r"var\(--jp-[\w-]+, (#[0-9a-f]{6}|inherit)\)", "", html)
        assert "#" not in without_variables
        assert not re.search(r"(?<!-)color:(?!;|\"|none)", without_variables)
        assert f"● {state}" in Page(html).text, "no meaning by colour alone"


def test_html_keeps_out_of_the_pages_way() -> None:
    """No scripts, styles, classes, ids, links or anything that asks a network."""
    page = Page(render.html(a_view(metrics=(Metric("loss", 0.5, (1, 0.5)),), notes="see https://example.org")))
    assert set(page.tags) <= {"div", "b", "bdi", "span", "table", "tr", "td", "svg", "title", "polyline"}
    names = {name for name, _ in page.attributes}
    assert names <= {
        "style",
        "colspan",
        "width",
        "height",
        "viewbox",
        "role",
        "points",
        "fill",
        "stroke",
        "stroke-width",
    }


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_what_users_write_is_shown_as_text_and_stays_in_its_place(text: str) -> None:
    metrics = (Metric(text or "loss", text, ()), Metric("ok", 1.0, (1.0, 2.0)))
    plain = a_view(metrics=(Metric("loss", "x", ()), Metric("ok", 1.0, (1.0, 2.0))), notes="x", name="x")
    one = a_view(
        path=f"local/p/{text[:20]}",
        name=text,
        notes=text,
        metrics=metrics,
        files=((text, 1),),
        restored=(text,),
        not_restored=((text, text),),
        reason=text,
        resumed=True,
    )
    terminal = shown(one)
    page = Page(render.html(one))
    assert set(page.tags) <= set(Page(render.html(plain)).tags)
    assert not {"onerror", "src", "onload"} & {name for name, _ in page.attributes}
    assert len(terminal) < 4000
    assert len(render.html(one)) < 12_000
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\ud800-\udfff]", terminal + page.text)
    assert all(line.startswith(("run ", "  ")) for line in terminal.split("\n") if line)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_strings_there(value: float) -> None:
    one = a_view(metrics=(Metric("loss", value, (1.0, 2.0)),))
    assert render.json(one)["metrics"][0]["last"] == str(value)
    assert str(value) in shown(one)
    assert str(value) in Page(render.html(one)).text


@pytest.mark.parametrize("points", [(), (1.0,), (1.0, 1.0), (-1.7e308, 1.7e308), (0.0, 5e-324), tuple(range(64))])
def test_a_sparkline_stays_in_its_box(points: tuple[float, ...]) -> None:
    drawn = re.search(r'points="([^"]*)"', render.svg(points, 120, 16))
    blocks = render.spark(Metric("loss", 0.0, points))
    if len(points) < 2:
        assert (drawn, blocks) == (None, "")
        return
    assert drawn is not None
    for place in drawn[1].split():
        x, y = map(float, place.split(","))
        assert 0 <= x <= 120
        assert 0 <= y <= 16
    assert 2 <= len(blocks) <= 16
    assert set(blocks) <= set("▁▂▃▄▅▆▇█")


def test_a_sparkline_shows_the_direction() -> None:
    assert render.spark(Metric("loss", 0.0, (3.0, 2.0, 1.0))) == "█▅▁"
    assert render.spark(Metric("loss", 0.0, tuple(range(64))))[::15] == "▁█"


def test_no_metrics_and_a_thousand_metrics() -> None:
    assert "step 3" in shown(a_view())
    many = tuple(Metric(f"m{n}", float(n), tuple(map(float, range(64)))) for n in range(1000))
    one = a_view(metrics=many, files=tuple((f"f{n}", n) for n in range(1000)))
    assert "988 more metrics" in shown(one)
    assert "f999 (999 bytes), and 992 more" in shown(one)
    data = render.json(one)
    assert len(data["metrics"]) == len(data["files"]) == 100
    assert data["more"] == {"metrics": 900, "files": 900}
    assert len(json.dumps(render.bundle(one))) < 100_000, "what each of five updates a second sends"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0s"), (59.9, "59s"), (60, "1m 00s"), (3599, "59m 59s"), (7500, "2h 05m"), (-1, "0s")]
)
def test_durations_are_for_people(seconds: float, said: str) -> None:
    assert wording.duration(seconds) == said


@pytest.mark.parametrize(
    ("size", "said"), [(0, "0 bytes"), (1, "1 byte"), (999, "999 bytes"), (1000, "1.0 kB"), (3_234_567_890, "3.2 GB")]
)
def test_sizes_are_for_people(size: int, said: str) -> None:
    assert wording.size_of(size) == said


def test_a_table_escapes_its_cells_and_says_when_it_is_empty() -> None:
    table = tables.Table(("run", "<b>"), (("a", "<script>"), ("longer", "\x1b[2J")), "no runs")
    assert repr(table) == "run     <b>\na       <script>\nlonger  [2J"
    assert set(Page(table._repr_html_()).tags) <= {"table", "thead", "tbody", "tr", "th", "td", "bdi"}
    assert repr(tables.Table(("run",), (), "no runs")) == "no runs"
    assert Page(tables.Message("<b>")._repr_html_()).text == "<b>"


# From rows and runs


def test_a_course_keeps_64_points_of_the_whole_and_the_last_value() -> None:
    course = Course({"loss": float(n), "phase": "a", "_step": n} for n in range(10_000))
    loss, phase = course.metrics({})
    assert (loss.name, loss.last) == ("loss", 9999.0)
    assert 32 <= len(loss.points) <= 64
    assert loss.points == tuple(sorted(loss.points))
    assert loss.points[-1] > 9700
    assert loss.points[0] < 300
    assert (phase.last, phase.points) == ("a", ())


def test_a_course_passes_over_what_cannot_be_drawn() -> None:
    values = (1, math.nan, True, None, "x", 10**400, -(10**400), math.inf, 2.0)
    (metric,) = Course({"odd": value} for value in values).metrics({})
    assert metric.points == (1.0, 2.0)
    assert metric.last == 2.0
    shown(a_view(metrics=(Metric("odd", 10**400, ()),)))


def test_a_metric_that_was_logged_long_ago_is_shown_from_the_summary() -> None:
    metrics = Course([{"loss": 1.0}]).metrics({"loss": 1.0, "eval": 0.5, "_step": 3, "table": {"a": 1}})
    assert [(metric.name, metric.last) for metric in metrics] == [("loss", 1.0), ("eval", 0.5)]


def test_the_view_of_a_run_has_what_was_restored_and_what_could_not_be(tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"12345")
    with wandb.init(project="p", id="source") as source:
        source.save("model.h5", policy="now")
    run = wandb.init(project="p", id="target", notes="why")
    run.restore("model.h5", "source").close()
    run.restore("model.h5", "source").close()
    with pytest.raises(errors.FileMissing):
        run.restore("scaler.pt", "p/source")
    one = view.of_run(run, Course())
    assert one.restored == (
        "model.h5 (5 bytes) of run local/p/source, verified",
        "model.h5 (5 bytes) of run local/p/source, in place already, verified",
    )
    assert one.not_restored[0][0] == "scaler.pt"
    assert "did you mean 'model.h5'" in one.not_restored[0][1]
    (tmp_path / "scaler.pt").write_bytes(b"1")
    run.save("scaler.pt", policy="now")
    run.restore("scaler.pt").close()
    assert view.of_run(run, Course()).not_restored == ()


def test_the_view_of_a_finished_run_stands_still() -> None:
    run = wandb.init()
    run.finish()
    first = view.of_run(run, Course()).elapsed
    assert view.of_run(run, Course()).elapsed == first


def test_a_record_has_a_view_without_its_writer(store: Store) -> None:
    for n in range(2):
        with wandb.init(project="p", id="one", resume="allow", notes="why") as run:
            run.log({"loss": 1.0 - n / 2})
    tail = store.record(RunPath("local", "p", "one")).tail()
    assert tail is not None
    one = view.of_record(store, tail)
    assert (one.state, one.step, one.notes, one.metrics) == ("finished", 2, "why", (Metric("loss", 0.5, (1.0, 0.5)),))
    assert render.headline(one) == "resumed at step 1: 2 sessions"


def test_a_file_that_the_server_lacks_is_said_to_be_sent_still(store: Store, tmp_path: Path) -> None:
    (tmp_path / "model.h5").write_bytes(b"1")
    path = RunPath("local", "p", "one")
    with wandb.init(project="p", id="one", mode="offline") as run:
        run.log({"loss": 1.0})
        run.save("model.h5", policy="now")
        digest = run.files["model.h5"].digest
    tail = store.record(path).tail()
    assert tail is not None
    assert view.server_of(store, tail) == "offline: 'jupyter resume sync' sends it"
    known = Replica("https://tracker.example", path)
    for rows, files, said in [
        (0, {}, "1 row and 1 file to send to tracker.example"),
        (1, {}, "1 file to send to tracker.example"),
        (1, {"model.h5": ["older", "md5"]}, "1 file to send to tracker.example"),
        (0, {"model.h5": [digest, "md5"]}, "1 row to send to tracker.example"),
        (1, {"model.h5": [digest, "md5"]}, "in step with tracker.example"),
    ]:
        known.rows, known.files = rows, files
        store.replica(path, known.base_url).save(known)
        assert view.server_of(store, tail) == said


def test_a_run_that_never_reached_its_server_is_said_to_wait(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "0.1")
    with wandb.init(project="p", id="one", resume="allow", base_url="http://127.0.0.1:9") as run:
        run.log({"loss": 1.0})
    tail = store.record(RunPath("local", "p", "one")).tail()
    assert tail is not None
    assert view.server_of(store, tail) == "not on its server yet: 'jupyter resume sync' sends it"


# Live, in a real kernel


@pytest.fixture(scope="module")
def any_kernel() -> Iterator[Kernel]:
    with Kernel() as kernel:
        kernel.check("%load_ext jupyter_resume\nimport os, jupyter_resume")
        yield kernel


@pytest.fixture
def kernel(any_kernel: Kernel, home: Path, tmp_path: Path) -> Iterator[Kernel]:
    """A kernel with this test's store and notebook; one for all of them, since each takes a second to start."""
    any_kernel.check(
        f"os.chdir({str(tmp_path)!r})\n"
        f"os.environ.update(JUPYTER_RESUME_HOME={str(home)!r}, WANDB_NOTEBOOK_NAME={str(tmp_path / 'train.ipynb')!r})"
    )
    yield any_kernel
    any_kernel.check("while jupyter_resume.run: jupyter_resume.finish()")


def test_one_display_has_text_html_and_our_mime_type(kernel: Kernel) -> None:
    cell = kernel.check("%wb_init --project p --id one")
    (display,) = cell.all("display_data")
    assert set(display["data"]) == {"text/plain", "text/html", MIME}
    assert display["transient"]["display_id"]
    assert display["data"][MIME]["version"] == 1
    assert display["data"][MIME]["path"] == "local/p/one"


def test_ten_thousand_logs_make_five_updates_a_second_and_the_last_is_right(kernel: Kernel) -> None:
    cell = kernel.check(
        "import time\nrun = %wb_init --project p\nbegan = time.monotonic()\n"
        "for n in range(10_000):\n    run.log({'loss': n})\n    if not n % 100: time.sleep(0.01)\n"
        "print(time.monotonic() - began)"
    )
    seconds = float(cell.all("stream")[0]["text"])
    updates = cell.all("update_display_data")
    assert 1 <= len(updates) <= 5 * seconds + 2, "one more as the cell ends, one where the clock's grid falls"
    (last,) = cell.shown
    assert (last[MIME]["step"], last[MIME]["metrics"][0]["last"]) == (10_000, 9999)
    assert "step 10000" in last["text/plain"]


def test_the_view_moves_while_the_cell_runs(kernel: Kernel) -> None:
    cell = kernel.check(
        "import time\nrun = %wb_init --project p\nfor n in range(20):\n    run.log({'loss': n})\n    time.sleep(0.05)"
    )
    steps = [update["data"][MIME]["step"] for update in cell.all("update_display_data")]
    assert len(steps) >= 3
    assert steps == sorted(steps)


def test_nothing_is_sent_while_nothing_moves(kernel: Kernel) -> None:
    kernel.check("run = %wb_init --project p\nrun.log({'loss': 1})")
    assert kernel.check("import time; time.sleep(0.7)").outputs == []


@pytest.mark.parametrize(
    ("code", "state"),
    [("%wb_finish", "finished"), ("run.finish()", "finished"), ("run.finish(exit_code=1)", "failed")],
)
def test_the_end_of_a_run_is_shown(code: str, state: str, kernel: Kernel) -> None:
    cell = kernel.check("run = %wb_init --project p\nrun.log({'loss': 1})")
    kernel.check(code)
    assert (cell.shown[0][MIME]["state"], cell.shown[0][MIME]["step"]) == (state, 1)


def test_what_changes_between_rows_is_shown(kernel: Kernel) -> None:
    cell = kernel.check("run = %wb_init --project p")
    kernel.check("run.notes = 'better'\nopen('m.h5', 'wb').write(b'1')\nrun.save('m.h5')\nrun.restore('m.h5')")
    kernel.run("run.restore('missing.h5')")
    text = cell.shown[0]["text/plain"]
    for part in ("better", "files         m.h5 (1 byte)", "restored      m.h5 (1 byte), verified", "missing.h5: Run"):
        assert part in text


def test_after_a_resume_the_sparkline_has_the_rows_of_earlier_sessions(kernel: Kernel, store: Store) -> None:
    with wandb.init(project="p", id="one") as run:
        for n in range(10):
            run.log({"loss": 10 - n, "early": n})
    cell = kernel.check("run = %wb_init --project p --id one --resume allow")
    first = cell.shown[0][MIME]
    assert (first["resumed"], first["starting_step"], first["step"]) == (True, 10, 10)
    assert "resumed at step 10: a run of this id exists" in cell.shown[0]["text/plain"]
    kernel.check("run.log({'loss': 0})")
    loss, early = cell.shown[0][MIME]["metrics"]
    assert loss["points"] == [*map(float, range(10, 0, -1)), 0.0]
    assert (early["last"], len(early["points"])) == (9, 10)


def test_rows_logged_before_the_run_is_first_shown_are_in_the_view_once(kernel: Kernel) -> None:
    kernel.check("import jupyter_resume as wandb\nrun = wandb.init(project='p')\nfor n in range(5): run.log({'n': n})")
    cell = kernel.check("run")
    kernel.check("run.log({'n': 5})")
    assert cell.shown[0][MIME]["metrics"][0]["points"] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_run_taken_over_by_another_process_says_so(kernel: Kernel) -> None:
    cell = kernel.check("run = %wb_init --project p --id one")
    with wandb.init(project="p", id="one", resume="allow", takeover=True):
        kernel.wait(cell, lambda: cell.shown[0][MIME]["state"] == "taken over", timeout=20)


def test_a_forked_child_neither_shows_the_run_nor_waits_for_who_does(kernel: Kernel) -> None:
    cell = kernel.check(
        "import multiprocessing\nfrom jupyter_resume.notebook import live\nrun = %wb_init --project p\n"
        "run.log({'loss': 1})\n"
        "with live._watches[run]._lock:\n"
        "    child = multiprocessing.get_context('fork').Process(target=live.flush_all)\n"
        "    child.start()\n    child.join(20)\n"
        "print('ended with', child.exitcode)"
    )
    assert "ended with 0" in cell.text


def test_a_view_that_cannot_be_shown_costs_one_line_and_no_cell(kernel: Kernel) -> None:
    kernel.check("run = %wb_init --project p")
    kernel.check("from jupyter_resume import render\nbundle, render.bundle = render.bundle, lambda view: 1 / 0")
    cell = kernel.check("run.log({'loss': 1})\nimport time; time.sleep(0.5)")
    assert (
        cell.text
        == f"jupyter_resume: the live view of run {run_path(kernel)} stopped: ZeroDivisionError: division by zero\n"
    )
    assert kernel.check("run.log({'loss': 1})\nrender.bundle = bundle").outputs == []


def run_path(kernel: Kernel) -> str:
    return str(kernel.check("print(run.path)").text).strip()


# On a server


class Seen:
    """A face that remembers what it was shown."""

    def __init__(self) -> None:
        self.server: list[str | None] = []

    def show(self, shown: RunView) -> int:
        self.server.append(shown.server)
        return 1

    def end(self, shown: RunView) -> int:
        return self.show(shown)

    def stale(self) -> bool:
        return False


def test_the_view_follows_how_the_run_stands_with_its_server_though_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Tracker().install(monkeypatch)
    monkeypatch.setattr(Background, "start", lambda link: None)
    seen = Seen()
    with wandb.init(project="p") as run:
        run.log({"loss": 1})
        watch = live.Watch(run, Course([]))
        watch.add(seen, follow=False)
        assert run.link is not None
        run.link.flush()
        watch.flush()
    assert seen.server == ["1 row to send to tracker.example", "in step with tracker.example"]


def test_the_last_view_of_a_run_is_of_after_its_rest_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker = Tracker()
    tracker.install(monkeypatch)
    monkeypatch.setattr(Background, "start", lambda link: None)
    seen = Seen()
    run = wandb.init(project="p")
    run.log({"loss": 1})
    watch = live.Watch(run, Course([]))
    tracker.then("append", watch.flush)  # the thread that shows a run does not wait for the one that ends it
    watch.add(seen, follow=False)
    run.finish()
    watch.flush()
    assert seen.server[-1] == "in step with tracker.example"
