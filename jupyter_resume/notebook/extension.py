"""``%load_ext jupyter_resume``: what is put into a shell, and taken out of it again."""

from __future__ import annotations

import atexit

from IPython.core.interactiveshell import InteractiveShell

from .._run import Run
from . import cells, completion, live, session
from .magics import ResumeMagics


def load(shell: InteractiveShell) -> None:
    """Add the magics, TAB completion, and the live view of runs."""
    session.install()
    cells.follow(shell)
    shell.register_magics(ResumeMagics)  # the shell makes the instance, and keeps it in its registry
    if shell.Completer is not None and completion.complete not in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.append(completion.complete)
    live.before_cell()  # the one that loads the extension
    shell.events.register("pre_run_cell", live.before_cell)
    shell.events.register("post_run_cell", live.after_cell)
    atexit.register(live.flush_all)  # a run begun after this is closed before: its view says how
    if shell.display_formatter is not None:
        shell.display_formatter.ipython_display_formatter.for_type(Run, lambda run: _show(shell, run))


def unload(shell: InteractiveShell) -> None:
    """Take all of it out; open runs stay open, and it stays known which cell they are in."""
    live.end_all()
    atexit.unregister(live.flush_all)
    for name in [name for name in shell.magics_manager.magics["line"] if name.startswith("wb_")]:
        del shell.magics_manager.magics["line"][name]
    shell.magics_manager.registry.pop("ResumeMagics", None)
    shell.configurables[:] = [one for one in shell.configurables if not isinstance(one, ResumeMagics)]
    if shell.Completer is not None and completion.complete in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.remove(completion.complete)
    for event, callback in (("pre_run_cell", live.before_cell), ("post_run_cell", live.after_cell)):
        if callback in shell.events.callbacks[event]:
            shell.events.unregister(event, callback)
    if shell.display_formatter is not None:
        shell.display_formatter.ipython_display_formatter.pop(Run, None)


def _show(shell: InteractiveShell, run: Run) -> None:
    if shell.magics_manager.registry["ResumeMagics"].display:
        live.show(shell, run)
    else:
        print(run)
