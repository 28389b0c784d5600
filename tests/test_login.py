"""Logging in: from Python, from a notebook, and from the command line."""

from __future__ import annotations

import getpass
import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyter_resume
from jupyter_resume import cli, errors, keys
from jupyter_resume._login import prompt

from .faults import KEY, Fault, Faults, faults, never
from .serving import served

OTHER = "0the50the50the50the50the50the50the50the5"


@pytest.fixture
def server() -> Iterator[Faults]:
    with faults() as one:
        yield one


@pytest.fixture(autouse=True)
def netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Faults) -> Path:
    """A netrc file of this test's own, and its server as the one that is meant."""
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    return tmp_path / "netrc"


def nobody(text: str) -> str:
    raise AssertionError("nobody was to be asked")


def test_a_key_is_checked_and_kept(server: Faults, netrc: Path) -> None:
    done = jupyter_resume.login(KEY)
    assert (done.entity, done.username, done.account.teams) == ("tester", "tester", ("tester", "crew"))
    assert (done.base_url, done.kept) == (server.url, netrc)
    assert repr(done) == f"logged in to {server.url} as tester; the key is kept in {netrc}"
    assert keys.find(server.url) == KEY
    assert server.ops() == ["Viewer"]
    assert KEY not in repr(done) + repr(vars(done))


def test_a_key_that_the_server_rejects_is_not_kept(server: Faults, netrc: Path) -> None:
    with pytest.raises(errors.KeyRejected, match="does not accept the API key") as caught:
        jupyter_resume.login(OTHER)
    assert not netrc.exists()
    assert OTHER not in str(caught.value)
    server.then("Viewer", Fault(body={"data": {"viewer": None}}))
    with pytest.raises(errors.KeyRejected, match="knows nobody by the API key"):
        jupyter_resume.login(KEY)
    assert not netrc.exists()


def test_a_key_that_cannot_be_checked_is_not_kept(server: Faults, netrc: Path) -> None:
    from jupyter_resume._login import login

    server.always("Viewer", never())
    with pytest.raises(errors.RemoteUnreachable):
        login(KEY, patience=0.5)
    assert not netrc.exists()


@pytest.mark.parametrize("key", ["", "two words", "tab\there"])
def test_what_is_no_key_is_not_sent(server: Faults, key: str) -> None:
    with pytest.raises(errors.InvalidInput, match="API key"):
        jupyter_resume.login(key)
    assert server.seen == []


def test_an_address_comes_as_an_argument_or_from_the_environment(server: Faults) -> None:
    with faults(key=OTHER) as other:
        assert jupyter_resume.login(OTHER, host=other.url + "/").base_url == other.url
        jupyter_resume.login(KEY)
        assert (keys.find(other.url), keys.find(server.url)) == (OTHER, KEY)
    with pytest.raises(errors.InvalidInput, match="address"):
        jupyter_resume.login(KEY, host="nonsense")


def test_without_a_key_the_configured_one_is_checked(
    server: Faults, netrc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    done = jupyter_resume.login(ask=nobody)
    assert (done.kept, netrc.exists()) == (None, False)
    assert repr(done) == f"logged in to {server.url} as tester; by the key that is configured"


def test_without_any_key_somebody_is_asked(server: Faults) -> None:
    asked: list[str] = []
    jupyter_resume.login(ask=lambda text: asked.append(text) or f"{KEY}\n")  # type: ignore[func-returns-value]
    assert asked == [f"API key for {server.url} (from {server.url}/authorize, or 'jupyter resume serve --make-key'): "]
    assert keys.find(server.url) == KEY


def test_a_configured_key_that_is_no_good_is_asked_for_anew(server: Faults, capsys: pytest.CaptureFixture[str]) -> None:
    keys.store(server.url, OTHER)
    with pytest.raises(errors.KeyRejected):
        jupyter_resume.login()
    assert jupyter_resume.login(ask=lambda text: KEY).kept
    assert keys.find(server.url) == KEY
    assert "does not accept the API key" in capsys.readouterr().err


def test_where_nobody_can_answer_the_ways_out_are_told() -> None:
    assert prompt() is None
    with pytest.raises(errors.InvalidInput, match=r"nobody to ask: pass login.key=.* or set WANDB_API_KEY"):
        jupyter_resume.login()


def test_a_kernel_without_a_frontend_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class StdinNotImplementedError(NotImplementedError):
        pass

    def refused(text: str) -> str:
        raise StdinNotImplementedError("getpass was called, but this frontend does not support input requests.")

    refused.__module__ = "ipykernel.kernelbase"
    monkeypatch.setattr(getpass, "getpass", refused)
    with pytest.raises(errors.InvalidInput, match="Nobody can be asked for the API key here"):
        jupyter_resume.login()


def test_an_environment_that_overrules_the_new_key_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", OTHER)
    jupyter_resume.login(KEY)
    said = capsys.readouterr().err
    assert "WANDB_API_KEY is set to another key" in said
    assert KEY not in said
    assert OTHER not in said


# In a notebook


class Shell(InteractiveShell):  # type: ignore[misc]
    """A shell that raises what a cell raises."""

    def showtraceback(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: `cell` raises it."""

    def cell(self, source: str) -> Any:
        done = self.run_cell(source, store_history=True)
        done.raise_error()
        return done.result


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    config = Config({"HistoryManager": {"hist_file": str(tmp_path / "history.sqlite"), "db_cache_size": 0}})
    Shell.clear_instance()
    one = Shell.instance(config=config)
    one.cell("%load_ext jupyter_resume")
    yield one
    one.cell("%unload_ext jupyter_resume")
    one.history_manager.end_session()
    Shell.clear_instance()


def memory(shell: Shell, tmp_path: Path) -> str:
    """Everything that IPython remembers of its inputs."""
    history = shell.history_manager
    history.writeout_cache()
    kept = list(history.db.execute("SELECT source, source_raw FROM history"))
    names = {name: value for name, value in shell.user_ns.items() if name.startswith("_i") or name == "In"}
    own = [history._i, history._ii, history._iii, history._i00, history.input_hist_raw, history.db_input_cache]
    return f"{kept}{names}{own}{(tmp_path / 'history.sqlite').read_bytes()!r}"


def test_a_key_on_the_line_is_taken_out_of_the_history(
    shell: Shell, server: Faults, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.cell("x = 1")
    done = shell.cell(f"%wb_login {KEY}  --host {server.url}")
    assert done.entity == "tester"
    shell.cell("y = 2")
    kept = memory(shell, tmp_path)
    assert KEY not in kept
    assert f"%wb_login ***  --host {server.url}" in kept
    assert "x = 1" in kept
    said = capsys.readouterr()
    assert "the key still stands in this cell" in said.err
    assert KEY not in said.out + said.err


@pytest.mark.parametrize("line", ["{key} {key}", "{key} --nonsense", "'{key}", "{key} --host", "--key {key}"])
def test_a_line_that_is_wrong_is_not_repeated(
    shell: Shell, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    with pytest.raises(UsageError) as caught:
        shell.cell("%wb_login " + line.format(key=KEY))
    assert KEY not in str(caught.value)
    assert KEY not in memory(shell, tmp_path)
    said = capsys.readouterr()
    assert KEY not in said.out + said.err


def test_a_rejected_key_is_taken_out_too(shell: Shell, tmp_path: Path) -> None:
    with pytest.raises(errors.KeyRejected):
        shell.cell(f"%wb_login {OTHER}")
    assert OTHER not in memory(shell, tmp_path)


def test_other_cells_with_the_same_word_are_left_alone(shell: Shell, tmp_path: Path) -> None:
    shell.cell("local = 'x'")
    with pytest.raises(errors.KeyRejected):
        shell.cell("%wb_login local")
    assert shell.user_ns["In"][-2:] == ["local = 'x'", "get_ipython().run_line_magic('wb_login', '***')"]


def test_a_key_in_a_variable_stays_where_it_is(shell: Shell, capsys: pytest.CaptureFixture[str]) -> None:
    shell.user_ns["key"] = KEY
    assert shell.cell("%wb_login {key}").kept
    assert "cell" not in capsys.readouterr().err


def test_without_a_key_the_frontend_asks(shell: Shell, server: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    def through_the_frontend(text: str) -> str:
        return KEY

    through_the_frontend.__module__ = "ipykernel.kernelbase"
    monkeypatch.setattr(getpass, "getpass", through_the_frontend)
    assert shell.cell("%wb_login").kept
    assert keys.find(server.url) == KEY


# On the command line


def test_a_key_is_read_from_stdin(
    server: Faults, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{KEY}\nmore\n"))
    assert cli.main(["login", "--host", server.url]) == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"logged in to {server.url} as tester")
    assert keys.find(server.url) == KEY
    assert KEY not in said.out + said.err


def test_with_nothing_on_stdin_the_configured_key_is_checked(
    server: Faults, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["login"]) == 1
    assert "set WANDB_API_KEY" in capsys.readouterr().err
    keys.store(server.url, KEY)
    assert cli.main(["login"]) == 0
    assert "by the key that is configured" in capsys.readouterr().out


def test_a_key_is_never_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["login", KEY])


def test_a_rejected_key_is_one_line_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(OTHER))
    assert cli.main(["login"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("jupyter resume: ")
    assert (said.count("\n"), OTHER in said) == (1, False)


@pytest.mark.skipif(sys.platform == "win32", reason="a terminal of POSIX")
def test_a_terminal_shows_no_key(server: Faults) -> None:
    keys.store(server.url, OTHER)  # a terminal is asked for a new one all the same
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "jupyter_resume", "login"]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    shown, until = b"", time.monotonic() + 60
    try:
        while b"): " not in shown and time.monotonic() < until:
            shown += os.read(master, 1000)
        os.write(master, f"{KEY}\n".encode())
        while time.monotonic() < until:
            try:
                shown += os.read(master, 1000) or b""
            except OSError:  # the terminal's other end is closed
                break
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert b"logged in to" in shown
    assert KEY.encode() not in shown
    assert keys.find(server.url) == KEY


# Our own server


def test_a_key_of_our_own_server_is_checked(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-m", "jupyter_resume", "serve", "--home", str(tmp_path / "home"), "--make-key", "ada"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    key = next(word for line in made.splitlines() for word in line.split() if len(word) >= 40)
    with served(tmp_path / "home") as ours:
        assert jupyter_resume.login(key, host=ours.url).entity == "local"
        with pytest.raises(errors.KeyRejected):
            jupyter_resume.login(OTHER, host=ours.url)
    assert keys.find(ours.url) == key


def test_importing_login_needs_no_requests() -> None:
    code = "import sys, jupyter_resume; jupyter_resume.login; sys.exit('requests' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
