"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import jupyter_resume as wandb
from jupyter_resume import cli


@pytest.fixture
def runs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with wandb.init(project="p", id=name) as run:
            run.log({"loss": 0.5})
            Path("model.txt").write_text(name)
            run.save("model.txt", policy="now")


@pytest.mark.usefixtures("runs")
def test_runs_are_listed_newest_first_and_by_project(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["runs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["run", "local/p/two", "local/p/one"]
    cli.main(["runs", "--project", "other"])
    assert "no runs of project other" in capsys.readouterr().out
    cli.main(["runs", "--rebuild"])
    assert "2 runs" in capsys.readouterr().out


@pytest.mark.usefixtures("runs")
def test_status_and_files_show_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "p/one"]) == 0
    assert "finished, step 1" in capsys.readouterr().out
    assert cli.main(["files", "p/one"]) == 0
    assert "model.txt" in capsys.readouterr().out
    assert cli.main(["status", "p/none"]) == 1
    assert "no run local/p/none" in capsys.readouterr().err


@pytest.mark.usefixtures("runs")
def test_restore_refuses_in_the_command_lines_own_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["restore", "model.txt", "p/two"]) == 0
    assert cli.main(["restore", "model.txt", "p/one"]) == 1
    told = capsys.readouterr().err
    assert "--replace" in told
    assert "--root" in told
    assert "replace=True" not in told
    assert cli.main(["restore", "model.txt", "p/one", "--replace"]) == 0
    assert Path("model.txt").read_text() == "one"


@pytest.mark.usefixtures("runs")
def test_runs_are_listed_from_their_records_where_the_catalog_cannot_be_used(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in home.glob("catalog.sqlite*"):
        file.unlink()
    (home / "catalog.sqlite").mkdir()
    assert cli.main(["runs"]) == 0
    assert "local/p/one" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX pipe")
def test_a_reader_that_has_read_enough_is_no_error(home: Path) -> None:
    for n in range(30):
        wandb.init(project="p", id=f"run-{n}-{'x' * 40}").finish()
    command = f"{sys.executable} -m jupyter_resume runs | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("run")
    assert done.stderr == ""


def test_without_a_command_all_of_them_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        cli.main([])
    assert left.value.code == 0
    assert "bring a run's file back, verified" in capsys.readouterr().out


def test_the_command_line_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--version"])
    assert capsys.readouterr().out == f"jupyter-resume {wandb.__version__}\n"


def test_a_program_is_given_the_run_id_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cleaned, it would not name a run that another client made on a server."""
    given: dict[str, str] = {}

    def execute(file: str, words: list[str], environ: dict[str, str]) -> None:
        given.update(environ)
        raise SystemExit(0)

    monkeypatch.setattr("os.execvpe", execute)
    with pytest.raises(SystemExit):
        cli.main(["run", "--resume=allow", "--id", "resnet-v1.5", "--", "train"])
    assert (given["WANDB_RUN_ID"], given["WANDB_RESUME"]) == ("resnet-v1.5", "allow")
