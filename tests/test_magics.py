"""The %wb_* magics: in a shell of this process, and through a real kernel where its messages matter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbclient
import nbformat
import pytest
from IPython.core.error import UsageError

from jupyter_resume import _active, errors
from jupyter_resume._run import Run
from jupyter_resume.files import Restored
from jupyter_resume.notebook import completion, live
from jupyter_resume.notebook.magics import ResumeMagics, words
from jupyter_resume.origin import NotebookRef
from jupyter_resume.render import MIME, Shown
from jupyter_resume.store.home import Store
from jupyter_resume.tables import Message, Table

from .kernel import Cell, Kernel
from .shell import Shell

MAGICS = {
    "wb_init",
    "wb_log",
    "wb_login",
    "wb_sync",
    "wb_save",
    "wb_restore",
    "wb_status",
    "wb_files",
    "wb_runs",
    "wb_widget",
    "wb_finish",
}


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    (tmp_path / "ipython").mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("WANDB_NOTEBOOK_NAME", "train.ipynb")
    shell = Shell()
    shell.extension_manager.load_extension("jupyter_resume")
    yield shell
    shell.extension_manager.unload_extension("jupyter_resume")


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """One kernel for this module, with a store and a working folder of its own."""
    folder = tmp_path_factory.mktemp("kernel")
    with Kernel() as kernel:
        kernel.check(
            f"import os; os.chdir({str(folder)!r}); os.environ['JUPYTER_RESUME_HOME'] = {str(folder / 'store')!r}\n"
            "os.environ['WANDB_NOTEBOOK_NAME'] = 'train.ipynb'\n%load_ext jupyter_resume"
        )
        yield kernel
        kernel.run("import jupyter_resume\nwhile jupyter_resume.run: jupyter_resume.finish()")


# What each does


def test_wb_init_begins_a_run_with_all_that_is_said(shell: Shell, tmp_path: Path) -> None:
    shell.user_ns["lr"] = 0.1
    run = shell.cell(
        "%wb_init --project vision --entity me --id first --name 'night run' --notes \"it's {lr * 2}\" --tags a 'b c' "
        "--group g --job-type train --config lr={lr} bs=32 flip=true net='resnet 50' --dir here --mode offline"
    )
    assert isinstance(run, Run)
    assert run.path == "me/vision/first"
    assert (run.name, run.notes, run.tags, run.group, run.job_type) == (
        "night run",
        "it's 0.2",
        ("a", "b c"),
        "g",
        "train",
    )
    assert run.config.as_dict() == {"lr": 0.1, "bs": 32, "flip": True, "net": "resnet 50"}
    assert Path(run.dir) == tmp_path / "here" / "first"
    assert isinstance(run.origin, NotebookRef)
    assert run.origin.path == str(tmp_path / "train.ipynb")


def test_wb_init_takes_the_name_of_a_dict_as_config(shell: Shell) -> None:
    shell.user_ns["settings"] = {"lr": 0.1, "layers": [1, 2]}
    assert shell.cell("%wb_init --config settings").config.as_dict() == {"lr": 0.1, "layers": [1, 2]}
    with pytest.raises(errors.InvalidInput, match="--config other: there is no such variable; write name=value"):
        shell.cell("%wb_init --config other")
    shell.user_ns["other"] = 3
    with pytest.raises(errors.InvalidInput, match="pass a dict"):
        shell.cell("%wb_init --config other")


def test_wb_init_run_again_goes_on_in_place(shell: Shell) -> None:
    first = shell.cell("%wb_init --resume allow")
    shell.cell("%wb_log loss=1")
    assert shell.cell("%wb_init --resume allow --notes 'second thoughts'") is first
    assert (first.step, first.notes) == (1, "second thoughts")


def test_wb_init_with_a_notebook_named(shell: Shell, tmp_path: Path) -> None:
    run = shell.cell("%wb_init --notebook 'my notebook.ipynb'")
    assert run.origin == NotebookRef(str(tmp_path / "my notebook.ipynb"), "argument")


def test_wb_log_reads_numbers_words_and_nan(shell: Shell, store: Store) -> None:
    run = shell.cell("%wb_init")
    shell.user_ns["loss"] = 0.25
    said = shell.cell("%wb_log loss={loss} acc=-1e-3 n=3 phase=warm-up ok=True 'a note'='two words' --step 5")
    assert isinstance(said, Message)
    assert repr(said) == "logged 6 values; the next step is 5"
    (row,) = run.history_tail()
    logged = {key: value for key, value in row.items() if not key.startswith("_")}
    assert logged == {"loss": 0.25, "acc": -0.001, "n": 3, "phase": "warm-up", "ok": True, "a note": "two words"}
    shell.cell("%wb_log loss=nan")
    assert run.history_tail()[-1]["loss"] != run.history_tail()[-1]["loss"]


def test_wb_save_and_wb_restore_keep_a_file(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "my model.h5").write_bytes(b"weights")
    run = shell.cell("%wb_init --id here")
    assert repr(shell.cell("%wb_save 'my model.h5' --policy now")) == "saved my model.h5"
    restored = shell.cell("%wb_restore 'my model.h5'")
    assert isinstance(restored, Restored)
    assert Path(restored.name) == Path(run.dir) / "my model.h5"
    assert Path(restored.name).read_bytes() == b"weights"
    shell.cell("%wb_finish")
    elsewhere = shell.cell("%wb_restore 'my model.h5' here --root elsewhere")
    assert Path(elsewhere) == tmp_path / "elsewhere" / "my model.h5"
    Path(elsewhere).write_bytes(b"mine")
    with pytest.raises(errors.LocalFileDiffers, match="replace"):
        shell.cell("%wb_restore 'my model.h5' here --root elsewhere")
    assert shell.cell("%wb_restore 'my model.h5' here --root elsewhere --replace").copied


def test_wb_save_says_what_it_waits_for(shell: Shell) -> None:
    shell.cell("%wb_init")
    assert repr(shell.cell("%wb_save later-*.h5")) == "nothing matches later-*.h5 yet; it is watched for"
    assert repr(shell.cell("%wb_save last.h5 --policy end")) == "last.h5 is saved when the run ends"


def test_wb_status_shows_the_active_run_or_any_other(shell: Shell) -> None:
    assert repr(shell.cell("%wb_status")) == "no active run: %wb_init --resume allow begins or continues one"
    shell.cell("%wb_init --id one --project p")
    shell.cell("%wb_log loss=0.5")
    active = shell.cell("%wb_status")
    assert isinstance(active, Shown)
    assert (active.path, active.step, active.metrics[0].last) == ("local/p/one", 1, 0.5)
    shell.cell("%wb_finish --exit-code 3")
    assert shell.cell("%wb_status p/one").state == "failed"


def test_wb_status_takes_nothing_from_the_live_view(shell: Shell) -> None:
    shell.cell("%wb_init\n")
    shell.cell("%wb_log loss=0.5\n%wb_status")
    assert shell.display_pub.outputs[-1]["data"][MIME]["metrics"][0]["last"] == 0.5


def test_wb_files_and_wb_runs_are_tables(shell: Shell, tmp_path: Path) -> None:
    assert "no runs" in repr(shell.cell("%wb_runs"))
    shell.cell("%wb_init --id one --project p --name first")
    (tmp_path / "m.h5").write_bytes(b"12345")
    assert repr(shell.cell("%wb_files")) == "no saved files"
    shell.cell("%wb_save m.h5")
    files, runs = shell.cell("%wb_files"), shell.cell("%wb_runs")
    assert isinstance(files, Table)
    assert files.rows[0][:3] == ("m.h5", "5 bytes", "-")
    assert runs.rows[0][:4] == ("local/p/one", "first", "running", "-")
    assert runs.rows[0][5] == f"notebook {tmp_path / 'train.ipynb'}"
    shell.cell("%wb_init --id two --project q")
    assert shell.cell("%wb_files p/one") == files
    assert len(shell.cell("%wb_runs")) == 2
    assert len(shell.cell("%wb_runs --project q")) == 1
    assert len(shell.cell("%wb_runs --entity nobody")) == 0


def test_wb_finish_ends_the_run(shell: Shell) -> None:
    shell.cell("%wb_init --id one --project p")
    assert repr(shell.cell("%wb_finish")) == "run local/p/one is finished at step 0"
    assert _active.active() is None


@pytest.mark.parametrize("code", ["%wb_log a=1", "%wb_save x", "%wb_files", "%wb_finish"])
def test_what_needs_a_run_says_so(code: str, shell: Shell) -> None:
    with pytest.raises(errors.NoRun, match=r"needs an active run: .* %wb_init first"):
        shell.cell(code)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("%wb_init --bogus 1", "unrecognized arguments: --bogus"),
        ("%wb_init --id", "argument --id: expected one argument"),
        ("%wb_init --notes 'open", "a quote is not closed"),
        ("%wb_log", "the following arguments are required: values"),
        ("%wb_log a=1 --step x", "argument --step: invalid int value: 'x'"),
        ("%wb_save m.h5 --policy sometimes", "invalid choice: 'sometimes'"),
        ("%wb_restore", "the following arguments are required: name; %wb_restore? shows what it takes"),
        ("%wb_init --projct mnist", "unrecognized arguments: --projct mnist: did you mean --project?; %wb_init? shows"),
        ("%wb_init mnist", "unrecognized arguments: mnist; %wb_init? shows what it takes"),
    ],
)
def test_a_misused_magic_is_a_usage_error_of_one_line(code: str, said: str, shell: Shell) -> None:
    shell.cell("%wb_init")
    with pytest.raises(UsageError) as caught:
        shell.cell(code)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("pair", ["loss", "loss =1", "=1"])
def test_what_is_not_name_value_is_refused_with_the_way_to_write_it(pair: str, shell: Shell) -> None:
    shell.cell("%wb_init")
    with pytest.raises(errors.InvalidInput, match="is not name=value: write it without spaces"):
        shell.cell(f"%wb_log {pair}")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", []),
        ("a 'b c' \"d e\"", ["a", "b c", "d e"]),
        (r"C:\models\new.h5", [r"C:\models\new.h5"]),
        ('--notes="it\'s # fine"', ["--notes=it's # fine"]),
        ("name=''", ["name="]),
        ("allow  # the run's own", ["allow"]),
        ("# all of it", []),
        ("--tags issue#4 '# no' # yes # twice", ["--tags", "issue#4", "# no"]),
        ("naïve ☕ '多 言語'", ["naïve", "☕", "多 言語"]),
    ],
)
def test_a_line_is_read_word_by_word(line: str, expected: list[str]) -> None:
    assert words(line) == expected


def test_every_line_of_the_documents_is_one_that_its_magic_takes() -> None:
    top = Path(__file__).parents[1]
    texts = [page.read_text(encoding="utf-8") for page in (top / "README.md", *sorted((top / "docs").glob("*.md")))]
    lines = re.findall(r"^ *(?:\w+ = )?%(wb_\w+)(.*)$", "\n".join(texts), re.MULTILINE)
    assert len(lines) > 5
    for magic, line in lines:
        getattr(ResumeMagics, magic).parser.parse_args(words(re.sub(r"\{\w+\}", "1", line)))


def test_python_variables_come_with_dollar_and_braces(shell: Shell) -> None:
    shell.user_ns.update(run_id="from-python", notes="two words")
    run = shell.cell('%wb_init --id $run_id --notes "{notes}"')
    assert (run.id, run.notes) == ("from-python", "two words")


# Configuration, and the extension's coming and going


def test_config_sets_defaults_below_environment_and_arguments(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    shell.cell("%config ResumeMagics.project = 'configured'\n%config ResumeMagics.entity = 'me'")
    assert shell.cell("%wb_init").path.startswith("me/configured/")
    monkeypatch.setenv("WANDB_PROJECT", "environment")
    assert shell.cell("%wb_init").project == "environment"
    assert shell.cell("%wb_init --project argument").project == "argument"
    assert shell.cell("%wb_status").path.startswith("me/argument/")


def test_config_gives_the_resume_policy(shell: Shell) -> None:
    shell.cell("%config ResumeMagics.resume = 'must'")
    with pytest.raises(errors.RunMissing):
        shell.cell("%wb_init --id none")


def test_config_turns_the_live_view_off(shell: Shell) -> None:
    shell.cell("%config ResumeMagics.display = False\nrun = %wb_init")
    assert shell.display_pub.outputs == []


@pytest.mark.parametrize("value", ["5", "None", "['a']", "object()"])
def test_a_setting_of_the_wrong_type_does_not_keep_the_extension_from_being_loaded_again(
    value: str, shell: Shell, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("project", "display"):
        shell.run_cell(f"%config ResumeMagics.{name} = {value}")
    shell.cell("%reload_ext jupyter_resume")
    assert "wb_init" in shell.magics_manager.magics["line"]


def test_a_setting_that_cannot_be_right_is_refused_where_it_is_used(shell: Shell) -> None:
    shell.cell("%config ResumeMagics.mode = 'sometimes'\n%config ResumeMagics.project = 'a/b'")
    with pytest.raises(errors.InvalidInput, match="mode='sometimes' is not known"):
        shell.cell("%wb_init")
    with pytest.raises(errors.InvalidInput, match="contains '/'"):
        shell.cell("%wb_init --mode local")
    assert shell.cell("%wb_init --mode local --project good").project == "good"


def footprint(shell: Shell) -> dict[str, Any]:
    """What an extension can leave in a shell."""
    return {
        "magics": {name for name in shell.magics_manager.magics["line"] if name.startswith("wb_")},
        "registry": "ResumeMagics" in shell.magics_manager.registry,
        "configurables": sum(isinstance(one, ResumeMagics) for one in shell.configurables),
        "matchers": shell.Completer.custom_matchers.count(completion.complete),
        "events": shell.events.callbacks["post_run_cell"].count(live.after_cell),
        "formatter": Run in shell.display_formatter.ipython_display_formatter,
    }


def test_reload_ext_adds_nothing_twice_and_unload_ext_leaves_nothing(shell: Shell) -> None:
    loaded = footprint(shell)
    assert loaded["magics"] == MAGICS
    assert {**loaded, "magics": None} == {
        "magics": None,
        "registry": True,
        "configurables": 1,
        "matchers": 1,
        "events": 1,
        "formatter": True,
    }
    shell.cell("%load_ext jupyter_resume")
    for _ in range(3):
        shell.cell("%reload_ext jupyter_resume")
        assert footprint(shell) == loaded
    shell.cell("%unload_ext jupyter_resume")
    assert not any(footprint(shell).values())
    shell.cell("%load_ext jupyter_resume")
    assert footprint(shell) == loaded


def test_unload_ext_ends_the_live_view_and_leaves_the_run_open(shell: Shell) -> None:
    shell.cell("run = %wb_init\nrun")
    run = shell.user_ns["run"]
    shell.cell("%unload_ext jupyter_resume")
    shown = len(shell.display_pub.outputs)
    run.log({"loss": 1})
    live.flush_all()
    assert len(shell.display_pub.outputs) == shown
    assert not run.closed


def test_a_terminal_shows_a_run_once_and_sends_no_updates(shell: Shell) -> None:
    del shell.kernel
    run = shell.cell("%wb_init --id one")
    for n in range(3):
        run.log({"loss": n})
        shell.cell("n = 1")
    (shown,) = shell.display_pub.outputs
    assert shown["data"]["text/plain"].startswith("run local/uncategorized/one")


# TAB


def tab(shell: Shell, code: str) -> list[str]:
    """What our matcher offers at the end of the code."""
    lines = code.split("\n")
    context: Any = SimpleNamespace(full_text=code, cursor_line=len(lines) - 1, cursor_position=len(lines[-1]))
    offered = completion.complete(context)
    return [one.text for one in offered["completions"]]


def test_tab_completes_options_and_their_values(shell: Shell) -> None:
    assert tab(shell, "%wb_init --re") == ["--resume"]
    assert "--takeover" in tab(shell, "x = 1\nrun = %wb_init --")
    assert tab(shell, "%wb_init --resume ") == ["allow", "must", "never", "auto"]
    assert tab(shell, "%wb_init --resume=al") == ["allow"]
    assert tab(shell, "%wb_save model.h5 --policy ") == ["live", "now", "end"]
    assert tab(shell, "%wb_init --project p --mode o") == ["online", "offline"]
    assert tab(shell, "%wb_unknown --re") == []
    assert tab(shell, "%timeit --re") == []


def test_tab_completes_runs_projects_and_files_from_the_store(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "model-best.h5").write_bytes(b"1")
    shell.cell("%wb_init --entity me --project vision --id alpha\n%wb_save model-best.h5")
    shell.cell("%wb_finish\n%wb_init --entity me --project text --id beta")
    assert tab(shell, "%wb_init --id ") == ["beta", "alpha"]
    assert tab(shell, "%wb_init --project ") == ["text", "vision"]
    assert tab(shell, "%wb_runs --entity m") == ["me"]
    assert tab(shell, "%wb_status vi") == ["vision/alpha"]
    assert tab(shell, "%wb_restore ") == []
    assert tab(shell, "%wb_restore model-best.h5 ") == ["text/beta", "vision/alpha"]
    shell.cell("%wb_save model-best.h5")
    assert tab(shell, "%wb_restore mod") == ["model-best.h5"]


def test_tab_survives_a_store_that_cannot_be_read(shell: Shell, home: Path) -> None:
    home.write_text("no folder")
    assert tab(shell, "%wb_init --id ") == []


# Through a real kernel


def test_help_shows_the_options_and_what_the_magic_does(kernel: Kernel) -> None:
    (payload,) = kernel.check("%wb_init?").reply["payload"]
    said = payload["data"]["text/plain"]
    assert "%wb_init [--project PROJECT]" in said
    assert "Begin a run, or continue one, and show it live." in said
    assert "allow, must, never or auto; or a run id (WANDB_RESUME)" in said


def test_tab_works_through_the_kernels_protocol(kernel: Kernel) -> None:
    kernel.check("open('m.h5', 'wb').write(b'1')\nrun = %wb_init --project tab --id tabbed\n%wb_save m.h5")
    assert kernel.complete("%wb_init --re") == ["--resume"]
    assert kernel.complete("x = 1\nrun = %wb_init --resume al") == ["allow"]
    assert kernel.complete("%wb_save --policy ") == ["end", "live", "now"]
    assert "tabbed" in kernel.complete("%wb_init --id ")
    assert "tab" in kernel.complete("%wb_init --project t")
    assert kernel.complete("%wb_restore m.") == ["m.h5"]
    assert "tab/tabbed" in kernel.complete("%wb_restore m.h5 tab/")
    assert kernel.complete("%config ResumeMagics.pr") == ["ResumeMagics.project"]


def test_an_error_is_one_line_of_error_output(kernel: Kernel) -> None:
    cell = kernel.run("%wb_status no/such/run")
    assert cell.reply["status"] == "error"
    ((kind, content),) = cell.outputs
    assert kind == "error"
    assert content["ename"] == "RunMissing"
    assert content["traceback"] == [f"RunMissing: {content['evalue']}"]
    assert "\n" not in content["evalue"]


def test_an_error_below_other_code_is_one_line_too(kernel: Kernel) -> None:
    (content,) = kernel.run(
        "import jupyter_resume as wandb\ndef deep():\n    try:\n        1 / 0\n"
        "    except ZeroDivisionError as error:\n        wandb.init(resume='must', id='none-such')\ndeep()"
    ).all("error")
    assert len(content["traceback"]) == 1
    assert content["traceback"][0].startswith("RunMissing: Run 'none-such' does not exist")


def test_a_usage_error_is_one_line_and_fails_the_cell(kernel: Kernel) -> None:
    cell = kernel.run("%wb_init --bogus")
    assert cell.reply["status"] == "error"
    assert cell.text.strip() == "UsageError: unrecognized arguments: --bogus; %wb_init? shows what it takes"


def test_an_error_fails_a_notebook_that_is_executed(home: Path) -> None:
    code = [nbformat.v4.new_code_cell(code) for code in ("%load_ext jupyter_resume", "%wb_init --mode never", "1 / 0")]
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="InvalidInput: mode='never' is not known here"):
        nbclient.execute(nbformat.v4.new_notebook(cells=code))


def views(cell: Cell) -> list[dict[str, Any]]:
    return [bundle for bundle in cell.shown if MIME in bundle]


@pytest.mark.parametrize(
    "code",
    [
        "%wb_init --project shown",
        "run = %wb_init --project shown",
        "run = %wb_init --project shown\nrun",
        "run = %wb_init --project shown\ndisplay(run)\nrun",
    ],
)
def test_wb_init_shows_the_run_once_whatever_is_done_with_it(code: str, kernel: Kernel) -> None:
    cell = kernel.check(code)
    assert len(cell.shown) == len(views(cell)) == 1


def test_a_run_shown_in_another_cell_lives_there_from_then_on(kernel: Kernel) -> None:
    first = kernel.check("run = %wb_init --project moving --resume never")
    second = kernel.check("run")
    kernel.check("run.log({'loss': 0.5})")
    assert views(first)[0][MIME]["step"] == 0
    kernel.wait(second, lambda: views(second)[0][MIME]["step"] == 1)


def test_a_notebook_without_load_ext_is_found_too(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_NOTEBOOK_NAME", str(tmp_path / "plain.ipynb"))
    with Kernel() as plain:
        begin = "import jupyter_resume as wandb\nrun = wandb.init(project='plain', resume=True)\nrun.log({'n': 1})"
        assert "(new)" in plain.check(begin).text
    with Kernel() as plain:
        cell = plain.check(begin + "\nprint(run.origin.path, run.starting_step)")
        assert "resumed at step 1: it was the unfinished run of this notebook" in cell.text
        assert f"{tmp_path / 'plain.ipynb'} 1" in cell.text
