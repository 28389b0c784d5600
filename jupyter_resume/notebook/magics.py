"""The ``%wb_*`` magics: each reads its line, calls the core, and returns a value that displays itself."""

from __future__ import annotations

import argparse
import ast
import difflib
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell
from IPython.core.magic import Magics, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments

from .. import _active, _init, exported, listing, lookup, notices, sending, settings, view
from .._login import LoggedIn, login
from .._run import Run
from ..errors import InvalidInput
from ..files import Restored
from ..identity import RunPath
from ..policy import CHOICES
from ..render import Shown
from ..saving import POLICIES
from ..store.home import Store
from ..tables import Message, Table
from . import live, redact, session
from .configured import Configured

if TYPE_CHECKING:
    from .widget import RunWidget


@magics_class
class ResumeMagics(Magics, Configured):
    """Runs that continue when their notebook does. ``%config ResumeMagics`` sets defaults."""

    shell: InteractiveShell

    @magic_arguments()
    @argument("--project", help="the project (WANDB_PROJECT)")
    @argument("--entity", help="the entity, a person or team (WANDB_ENTITY)")
    @argument("--id", help="the run id, at most 64 characters (WANDB_RUN_ID)")
    @argument("--resume", help="allow, must, never or auto; or a run id (WANDB_RESUME)")
    @argument("--name", help="a display name")
    @argument("--notes", help="notes; they replace the run's")
    @argument("--tags", nargs="+", help="tags; they replace the run's")
    @argument("--group", help="the group of runs that this one belongs to")
    @argument("--job-type", help="what kind of job it is, such as train")
    @argument("--config", nargs="+", help="name=value ..., or the name of a dict in the notebook")
    @argument("--dir", help="the folder for the run's files")
    @argument("--mode", help="local; online: also on a server; offline: brought there later (WANDB_MODE)")
    @argument("--base-url", help="the server's address (WANDB_BASE_URL)")
    @argument("--if-diverged", choices=CHOICES, help="where the run has gone on here and on the server")
    @argument("--raise-stopped", action="store_true", help="fail the cell once the run is to be stopped")
    @argument("--export", action="store_true", help="let subprocesses and libraries join the run, the wandb SDK too")
    @argument("--notebook", help="this notebook's path, where nothing else tells it")
    @argument("--takeover", action="store_true", help="write the run even if another process does")
    @line_magic
    def wb_init(self, line: str) -> Run:
        """Begin a run, or continue one, and show it live.

        In a notebook ``%wb_init --resume allow`` continues what this notebook did not finish. Returns the run.
        """
        asked = _parse(self.wb_init, line)
        arguments = {name: getattr(asked, name) for name in _INIT_ARGUMENTS}
        configured = {name: getattr(self, name) for name in ("project", "entity", "resume", "mode", "dir", "base_url")}
        others = [run.path for run in _active.open_runs()]
        run, fresh = _init.start(
            settings.resolve(arguments, configured=configured),
            config=self._config(asked.config),
            takeover=asked.takeover,
            if_diverged=asked.if_diverged,
            raise_stopped=asked.raise_stopped,
            whence=session.find_in(self.shell, asked.notebook),
        )
        if fresh and others:
            notices.tell(
                f"still open in this kernel: {', '.join(others)}; %wb_finish ends the run that was begun last."
            )
        if asked.export:
            exported.export(run)
        if self.display:
            live.show(self.shell, run)
        return run

    @magic_arguments()
    @argument("values", nargs="+", help="name=value ...")
    @argument("--step", type=int, help="the step of the row")
    @line_magic
    def wb_log(self, line: str) -> Message:
        """Record metrics in the active run: ``%wb_log loss={loss} acc=0.9``."""
        asked = _parse(self.wb_log, line)
        run = _active.need("%wb_log")
        run.log(_pairs(asked.values), step=asked.step)
        count = len(asked.values)
        return Message(f"logged {count} value{'' if count == 1 else 's'}; the next step is {run.step}")

    @magic_arguments()
    @argument("pattern", help="a path, or a glob such as checkpoints/*.h5")
    @argument("--base-path", help="the folder that the names in the run are relative to")
    @argument("--policy", choices=POLICIES, default="live", help="live: now and whenever it changes; now; end")
    @line_magic
    def wb_save(self, line: str) -> Message:
        """Keep files in the active run."""
        asked = _parse(self.wb_save, line)
        saved = _active.need("%wb_save").save(asked.pattern, asked.base_path, asked.policy)
        if asked.policy == "end":
            return Message(f"{asked.pattern} is saved when the run ends")
        return Message(
            f"saved {', '.join(saved)}" if saved else f"nothing matches {asked.pattern} yet; it is watched for"
        )

    @magic_arguments()
    @argument("name", help="the file's name in the run, see %%wb_files")
    @argument("run_path", nargs="?", help="entity/project/run_id, project/run_id or run_id; default: the active run")
    @argument("--replace", action="store_true", help="replace another file of that name")
    @argument("--root", help="the folder to put it in; default: the run's")
    @line_magic
    def wb_restore(self, line: str) -> Restored:
        """Bring a run's file back, verified. ``.name`` of the result is its path."""
        asked = _parse(self.wb_restore, line)
        return _active.bring_back(asked.name, asked.run_path, asked.replace, asked.root)

    @magic_arguments()
    @argument("run_path", nargs="?", help="entity/project/run_id, project/run_id or run_id; default: the active run")
    @argument("--remote", action="store_true", help="ask for the run on its server, even if it is here")
    @line_magic
    def wb_status(self, line: str) -> Shown | Message:
        """How a run stands: state, step, last metrics, files."""
        asked = _parse(self.wb_status, line)
        run = _active.active()
        if asked.run_path is None and asked.remote and run is not None:
            asked.run_path = run.path
        if asked.run_path is None:
            if run is None:
                return Message("no active run: %wb_init --resume allow begins or continues one")
            return Shown.of(view.of_run(run, view.Course(run.history_tail())))
        return Shown.of(lookup.status(asked.run_path, self._settings(), asked.remote))

    @magic_arguments()
    @argument("run_path", nargs="?", help="entity/project/run_id, project/run_id or run_id; default: the active run")
    @argument("--remote", action="store_true", help="ask for the run on its server, even if it is here")
    @line_magic
    def wb_files(self, line: str) -> Table:
        """The files that a run has saved."""
        asked = _parse(self.wb_files, line)
        if asked.run_path is None and not asked.remote:
            run = _active.need("%wb_files")
            return listing.files(run.files, run.files_there.values())
        text = asked.run_path or _active.need("%wb_files").path
        return lookup.files(text, self._settings(), asked.remote)

    @magic_arguments()
    @argument("--project", help="only this project's; default: every project's")
    @argument("--entity", help="only this entity's")
    @argument("--remote", action="store_true", help="the newest runs of the project on the server")
    @argument("--most", type=int, default=50, help="how many with --remote; default: 50")
    @line_magic
    def wb_runs(self, line: str) -> Table:
        """The runs of this machine's store, newest first."""
        asked = _parse(self.wb_runs, line)
        if asked.remote:
            if asked.most < 1:
                raise InvalidInput(f"--most {asked.most} is no number of runs: use one from 1 on.")
            return lookup.runs_there(self._settings(entity=asked.entity, project=asked.project), asked.most)
        return listing.runs(Store(), asked.entity, asked.project)

    @magic_arguments()
    @argument("--total", type=int, help="the step at which the run is expected to be done: shows progress")
    @line_magic
    def wb_widget(self, line: str) -> RunWidget:
        """Show the active run with buttons to restore its files and to finish it; returns the widget."""
        asked = _parse(self.wb_widget, line)
        run = _active.need("%wb_widget")
        from . import widget  # ipywidgets takes a while to import

        shown = widget.of(run, asked.total, self.shell)
        shown.display()
        return shown

    @magic_arguments()
    @argument("run_path", nargs="*", help="runs of this store; default: the active run, else all that wait")
    @argument("--if-diverged", choices=("append",), help="append: rows that wait here go behind the server's")
    @argument("--base-url", help="the server's address (WANDB_BASE_URL)")
    @line_magic
    def wb_sync(self, line: str) -> Message:
        """Send to the server, now, what it lacks: of the active run, of the named ones, or of all that wait."""
        asked = _parse(self.wb_sync, line)
        run = _active.active()
        if run is not None and run.link is not None and not asked.run_path:
            return Message(sending.flush(run, asked.if_diverged))
        paths = [self._path(text) for text in asked.run_path]
        done = list(sending.send(Store(), paths, asked.base_url or self.base_url or None, asked.if_diverged))
        return Message("\n".join(done) or "nothing waits to be sent")

    @magic_arguments()
    @argument("--exit-code", type=int, help="0 finishes the run, anything else fails it")
    @line_magic
    def wb_finish(self, line: str) -> Message:
        """End the active run; without this a notebook's run stays unfinished, to be resumed."""
        asked = _parse(self.wb_finish, line)
        run = _active.need("%wb_finish")
        run.finish(asked.exit_code)
        live.flush_all()
        return Message(f"run {run.path} is {run.state} at step {run.step}")

    @magic_arguments()
    @argument("key", nargs="?", help="the API key; without it the one in use is checked, or one is asked for")
    @argument("--host", help="the server's address (WANDB_BASE_URL)")
    @line_magic
    def wb_login(self, line: str) -> LoggedIn:
        """Check an API key with its server and keep it in the netrc file.

        A key on the line is taken out of IPython's history; better give none, and be asked for it.
        """
        try:
            asked = _parse(self.wb_login, line)
        except (UsageError, InvalidInput):  # their words would repeat the line
            asked = None
        if asked is None:
            for word in line.split():
                if not word.startswith("-"):
                    redact.forget(self.shell, word, "wb_login")
            raise UsageError("%wb_login takes one API key, or none to be asked for it, and --host ADDRESS")
        if asked.key is not None and redact.forget(self.shell, asked.key, "wb_login"):
            notices.tell("the key still stands in this cell: remove it there, before the notebook is saved or shared")
        return login(asked.key, asked.host)

    def _config(self, words: Sequence[str] | None) -> dict[str, Any] | None:
        """``lr=0.1 bs=32``, or the name of a dict in the notebook."""
        if words and len(words) == 1 and "=" not in words[0]:
            try:
                config: dict[str, Any] = self.shell.user_ns[words[0]]
            except KeyError:
                raise InvalidInput(f"--config {words[0]}: there is no such variable; write name=value.") from None
            return config
        return None if words is None else _pairs(words)

    def _path(self, text: str) -> RunPath:
        said = self._settings()
        return RunPath.parse(text, said.entity, said.project)

    def _settings(self, **asked: str | None) -> settings.Settings:
        """What the active run, the environment and ``%config`` say, where the line said nothing."""
        configured = {name: getattr(self, name) for name in ("project", "entity", "mode", "base_url")}
        if run := _active.active():
            asked = {name: asked.get(name) or getattr(run, name) for name in ("project", "entity")}
            if run.link is not None:
                asked |= {"base_url": run.link.syncing.remote.base_url, "mode": "online"}
        return settings.resolve(asked, configured=configured)


_INIT_ARGUMENTS = (
    "project",
    "entity",
    "id",
    "resume",
    "name",
    "notes",
    "tags",
    "group",
    "job_type",
    "dir",
    "mode",
    "base_url",
)


def _parse(magic: Any, line: str) -> argparse.Namespace:
    given = words(line)
    try:
        asked: argparse.Namespace = magic.parser.parse_args(given)
    except UsageError as error:
        raise UsageError(f"{error}{_meant(magic.parser, given)}; %{magic.__name__}? shows what it takes") from None
    return asked


def _meant(parser: argparse.ArgumentParser, given: Sequence[str]) -> str:
    """What was meant by the first option that is none, if it can be told."""
    options = [option for action in parser._actions for option in action.option_strings]
    wrong = (word.partition("=")[0] for word in given if word.startswith("--"))
    unknown = next((word for word in wrong if not any(option.startswith(word) for option in options)), None)
    near = difflib.get_close_matches(unknown, options, 1, cutoff=0.75) if unknown else []
    return f": did you mean {near[0]}?" if near else ""


_UNKNOWN = re.compile(r"\{[A-Za-z_][\w.]*\}")
_BEFORE_COMMENT = re.compile(r"""(?:"[^"]*"|'[^']*'|(?<=\S)\#|[^"'#])*""")


def words(line: str) -> list[str]:
    """The words of a magic's line: quotes group and are dropped, a backslash is a backslash, `` # ...`` a comment."""
    before = _BEFORE_COMMENT.match(line)
    if before is not None and line[before.end() :].startswith("#"):  # shlex would also end a word such as a#b
        line = before[0]
    lexer = shlex.shlex(line, posix=True, punctuation_chars=False)
    lexer.whitespace_split, lexer.escape, lexer.commenters = True, "", ""
    try:
        found = list(lexer)
    except ValueError:
        raise UsageError(f"a quote is not closed in {line!r}") from None
    if unknown := next(filter(None, map(_UNKNOWN.search, found)), None):
        raise InvalidInput(f"{unknown[0]} has no value: there is no such variable in this notebook.")
    return found


def _pairs(given: Sequence[str]) -> dict[str, Any]:
    """``name=value`` words as a dict; a value is a Python literal, else a string."""
    pairs: dict[str, Any] = {}
    for word in given:
        name, sign, value = word.partition("=")
        if not sign or not name:
            raise InvalidInput(f"{word!r} is not name=value: write it without spaces, or put quotes around it.")
        pairs[name] = _literal(value)
    return pairs


def _literal(text: str) -> Any:
    if text.lower() in ("nan", "inf", "-inf", "+inf"):
        return float(text)
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return {"true": True, "false": False, "null": None}.get(text, text)
