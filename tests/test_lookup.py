"""Runs asked for by name on the command line and in a notebook: in this machine's store, else on the server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyter_resume as wandb
from jupyter_resume import cli, errors, lookup, settings

from .serving import KEY, Client, Served, served


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server with a store of its own, which is configured with its key."""
    with served(tmp_path / "elsewhere") as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


@pytest.fixture
def far(server: Served) -> Client:
    """A run that only the server has."""
    client = server.client(project="p")
    client.upsert("far", displayName="a far run", config={"lr": {"value": 0.1}})
    client.rows("far", 0, [{"_step": n, "_runtime": n, "_timestamp": 1e9 + n, "loss": 0.5} for n in range(3)])
    client.upload("far", "model.h5", b"weights")
    client.stream("far", {"complete": True, "exitcode": 0})
    return client


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    (tmp_path / "ipython").mkdir()
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.kernel = SimpleNamespace()
    shell.extension_manager.load_extension("jupyter_resume")
    yield shell
    shell.extension_manager.unload_extension("jupyter_resume")


@pytest.fixture
def near() -> None:
    """A run that only this machine has."""
    with wandb.init(project="p", id="near", mode="local") as run:
        run.log({"acc": 0.75})


@pytest.mark.usefixtures("far", "near")
def test_what_is_not_here_is_asked_of_the_server(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "p/far"]) == 0
    shown = capsys.readouterr().out
    for part in ("a far run", "finished, step 3", "loss", "model.h5", f"{server.url}/local/p/runs/far"):
        assert part in shown
    assert cli.main(["files", "p/far"]) == 0
    assert "model.h5  7 bytes" in capsys.readouterr().out
    assert cli.main(["status", "p/near"]) == 0
    assert "acc" in capsys.readouterr().out


@pytest.mark.usefixtures("far", "near")
def test_remote_asks_the_server_even_if_the_run_is_here(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "p/near", "--remote"]) == 1
    assert f"no run local/p/near in {server.url}" in capsys.readouterr().err
    with wandb.init(project="p", id="far", mode="local") as run:
        run.log({"here": 1})
    assert cli.main(["status", "p/far"]) == 0
    assert "here" in capsys.readouterr().out
    assert cli.main(["status", "p/far", "--remote"]) == 0
    assert "a far run" in capsys.readouterr().out


@pytest.mark.usefixtures("far", "near")
def test_what_is_nowhere_is_said_of_both_places(server: Served, home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "p/fur"]) == 1
    told = capsys.readouterr().err
    assert f"not in the store {home}" in told
    assert f"in {server.url}: did you mean 'far'?" in told


def test_a_server_that_does_not_answer_is_named_beside_the_store(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(lookup, "connect", lambda url: lookup_connect(url, patience=0.5))
    with pytest.raises(errors.RemoteUnreachable, match=r"not in the store .*127\.0\.0\.1"):
        lookup.status("team/p/x", settings.resolve({}))


lookup_connect = lookup.connect


def test_without_a_server_only_the_store_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "p/far"]) == 1
    assert "in the store" in capsys.readouterr().err
    assert cli.main(["status", "p/far", "--remote"]) == 1
    assert "no API key" in capsys.readouterr().err
    assert cli.main(["runs", "--remote"]) == 1
    assert "no API key" in capsys.readouterr().err


@pytest.mark.usefixtures("far", "near")
def test_the_servers_runs_are_listed_with_where_they_are(server: Served, capsys: pytest.CaptureFixture[str]) -> None:
    server.client(project="p").upsert("near")
    assert cli.main(["runs", "--remote", "--project", "p"]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.endswith("where")
    assert first.startswith("local/p/near")
    assert first.endswith("here and there")
    assert second.startswith("local/p/far")
    assert second.endswith("  there")
    assert cli.main(["runs", "--remote", "--project", "p", "--most", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("and 1 more")
    assert cli.main(["runs", "--remote", "--project", "none"]) == 0
    assert f"no runs of project local/none at {server.url}" in capsys.readouterr().out
    assert cli.main(["runs"]) == 0
    assert "far" not in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["runs", "--remote", "--most", "0"])


@pytest.mark.usefixtures("far", "near")
def test_the_magics_ask_the_server_too(server: Served, shell: InteractiveShell) -> None:
    def magic(line: str) -> object:
        name, _, rest = line.partition(" ")
        return shell.run_line_magic(name, rest)

    assert "a far run" in repr(magic("wb_status p/far"))
    assert "model.h5" in repr(magic("wb_files p/far"))
    assert "here and there" not in repr(magic("wb_runs --remote --project p"))
    assert "local/p/near" in repr(magic("wb_runs"))
    with pytest.raises(errors.RunMissing, match="did you mean"):
        magic("wb_status p/near --remote")
    with pytest.raises(errors.InvalidInput):
        magic("wb_runs --remote --most 0")
    with pytest.raises(errors.NoRun):
        magic("wb_files --remote")


@pytest.mark.usefixtures("far")
def test_remote_without_a_path_is_the_active_run_on_its_own_server(
    server: Served, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_BASE_URL")
    run = wandb.init(project="p", id="both", base_url=server.url, mode="online")
    run.log({"loss": 0.25})
    assert run.link is not None
    run.link.flush()
    shown = repr(shell.run_line_magic("wb_status", "--remote"))
    assert f"as {server.url} has it" in shown
    assert "0.25" in shown
    listed = repr(shell.run_line_magic("wb_runs", "--remote")).splitlines()
    assert listed[1].startswith("local/p/both")
    assert listed[1].endswith("here and there")
    assert "no saved files" in repr(shell.run_line_magic("wb_files", "--remote"))
    run.finish()
