"""RunWidget: the live view with buttons, made of ipywidgets' own controls.

It is one more face of a run that is watched (see `live`): an update is one message, the view as HTML. Buttons are
handled between cells and wait while one runs. When the run ends, or its kernel is shut down, plain HTML takes the
widget's place and its comms are closed: a notebook that is opened without its kernel still shows the run.
"""

from __future__ import annotations

import functools
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from ipywidgets import HTML, Button, Dropdown, HBox, Layout, VBox, Widget

from .. import render
from .._run import Run
from ..errors import LocalFileDiffers, ResumeError, RunClosed
from ..view import RunView
from ..wording import said, short, size_of
from . import live

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

_MOST_AT_FIRST, _MOST = 200, 500  # file names to choose from: all of them travel with each new one
_WAITING = "A cell is running: Restore and Finish wait until it has ended."
_INDENT, _ROW = "0 0 0 17px", "0 0 0 15px"  # where the text of the view begins; controls have a margin of their own
_LINE = "padding:2px 0;max-width:60em;line-height:1.5;overflow-wrap:anywhere"
_PALE, _BAD = "var(--jp-content-font-color2, inherit)", "var(--jp-error-color1, #d32f2f)"


class RunWidget(VBox):  # type: ignore[misc]
    """A run shown live, with buttons to restore its files and to finish it.

    ``total`` is the step at which the run is expected to be done: it turns the count of steps into progress, and is
    recorded with the run (`Run.total`). Display it as any widget, or by ``%wb_widget``.

    Raises RunClosed for a run that has ended, InvalidInput for a ``total`` that is no number of steps.

    >>> import jupyter_resume as wandb
    >>> from jupyter_resume.notebook.widget import RunWidget
    >>> run = wandb.init(project="docs", id="first")
    >>> RunWidget(run, total=1000)
    RunWidget(<Run local/docs/first running, step 0>)
    """

    def __init__(self, run: Run, total: int | None = None, shell: InteractiveShell | None = None) -> None:
        if run.closed:
            raise RunClosed(
                f"Run {run.path} has ended ({run.state}): init(id={run.id!r}, resume='allow') continues it."
            )
        if total is not None:
            run.total = total
        self.run = run
        self._shell: InteractiveShell | None = shell or get_ipython()
        self._shown: RunView | None = None
        self._shown_in: int | None = None
        self._displays: list[str] = []
        self._outcome, self._bad = "", False
        self._waits = False
        self._answer: Callable[[], None] | None = None  # what is done if a question is answered with yes
        self._view, self._message = HTML(), HTML(layout=Layout(margin=_INDENT))
        self._names = _Names(list(run.files))
        self._restore = self._button("Restore", "bring this file back, verified", self._restore_chosen)
        self._finish = self._button("Finish", "end the run for good", self._ask_to_finish)
        self._yes = self._button("", "", lambda: None)
        self._no = self._button("Cancel", "leave all as it is", lambda: self._say(""))
        self._row = HBox(layout=Layout(margin=_ROW, flex_flow="row wrap"))
        super().__init__((self._view, self._message, self._row), layout=Layout(width="100%"))
        self._put_row()
        live.watch(run).add(self)

    # As a face of the run

    def show(self, shown: RunView) -> int:
        """Show the run as it stands; how many messages that took."""
        if self.comm is None:
            return 0
        first, self._shown = self._shown is None, shown
        sent = _put(self._view, value=render.html(shown))
        if self._names.learn([name for name, _ in shown.files]):
            sent += 1 + self._put_row()  # the first file brings the button
        if not first and self.stale():  # at first a cell runs that may be over at once
            sent += self._wait(live.cell_runs())
        return sent

    def end(self, shown: RunView) -> int:
        """Put plain HTML of the run in the widget's place, wherever it is displayed."""
        self._shown = shown
        self.close()
        return len(self._displays)

    def stale(self) -> bool:
        """Whether a cell began or ended since."""
        return self.comm is not None and live.cell_runs() != self._waits

    # In a notebook

    def display(self) -> None:
        """Show it in the cell that is executed now, once."""
        shell = self._shell
        if shell is None:
            print(self._plain()["text/plain"])
        elif self._shown_in != shell.execution_count:
            self._shown_in = shell.execution_count
            display_id = secrets.token_hex(8)
            data = self._plain() if self.comm is None else self._repr_mimebundle_()
            live.publish(shell, data, display_id, update=False)
            if self.comm is not None:
                self._displays.append(display_id)

    def close(self) -> None:
        """Close the widget; plain HTML of the run takes its place."""
        if self.comm is None:
            return
        live.drop(self.run, self)  # waits for an update under way
        if self._shell is not None and not self.run.forked:
            for display_id in self._displays:
                live.publish(self._shell, self._plain(), display_id, update=True)
        for part in (self._view, self._message, self._names, *self._buttons, self._row, self):
            for owned in (getattr(part, "style", None), part.layout):
                if isinstance(owned, Widget):
                    owned.close()
            Widget.close(part)

    def _ipython_display_(self) -> None:
        self.display()

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        """The widget, for a page that has its kernel; HTML and text for one that has not."""
        plain = self._plain()
        bundle: dict[str, Any] = super()._repr_mimebundle_(**kwargs)
        return {**bundle, "text/html": plain["text/html"], "text/plain": plain["text/plain"]}

    def _plain(self) -> dict[str, Any]:
        assert self._shown is not None, "the watch shows it first"
        return render.bundle(self._shown)

    def __repr__(self) -> str:
        return f"RunWidget({self.run!r})"

    # Its buttons

    @property
    def _buttons(self) -> tuple[Button, ...]:
        return self._restore, self._finish, self._yes, self._no

    def _button(self, description: str, tooltip: str, do: Callable[[], None]) -> Button:
        button = Button(description=description, tooltip=tooltip, layout=Layout(width="auto"))
        button.on_click(functools.partial(self._press, do))
        return button

    def _press(self, do: Callable[[], None], button: Button) -> None:
        """What a button does; what goes wrong is said in a sentence, since nobody sees a traceback from here."""
        answer, self._answer = self._answer, None  # a question asks about the next press alone
        try:
            if button is not self._yes:
                do()
            elif answer is not None:  # else the question has lapsed
                answer()
        except ResumeError as error:
            self._say(str(error), bad=True)
        except Exception as error:
            self._say(f"{type(error).__name__}: {error}", bad=True)
        live.flush_all()

    def _restore_chosen(self, replace: bool = False) -> None:
        name = self._names.chosen()
        if name is None:
            self._say("Choose a file first.")
            return
        self._say(f"Restoring {name} ...")
        try:
            restored = self.run.bring_back(name, replace=replace)
        except LocalFileDiffers as error:
            path = error.path
            if replace or path is None or path.is_dir():  # nothing that replacing would help
                raise
            question = f"{path} is there already, and is another file than the run's. Replace it?"
            self._ask(question, "Replace it", functools.partial(self._restore_chosen, True))
            return
        how = "restored and verified" if restored.copied else "in place already, verified"
        self._say(f"{short(restored.file, 200)} ({size_of(restored.size)}): {how}, {restored.name}")

    def _ask_to_finish(self) -> None:
        question = f"Finish the run at step {self.run.step}? The next %wb_init then begins a new one."
        self._ask(question, "Finish it", self.run.finish)

    def _ask(self, question: str, yes: str, do: Callable[[], None]) -> None:
        self._answer = do
        _put(self._yes, description=yes, button_style="danger")
        self._say(question)

    def _say(self, outcome: str, bad: bool = False) -> None:
        """Say what became of the press of a button."""
        self._outcome, self._bad = outcome, bad
        self._put_message()
        self._put_row()

    def _wait(self, waits: bool) -> int:
        """Have the buttons wait for the cell that runs, and a question lapse; or no longer."""
        self._waits = waits
        if self._answer is not None:
            self._answer, self._outcome = None, ""
        return self._put_message() + self._put_row()

    def _put_message(self) -> int:
        line, bad = (_WAITING, False) if self._waits else (short(self._outcome, 600), self._bad)
        style = f"{_LINE};color:{_BAD if bad else _PALE}"
        return _put(self._message, value=f'<div role="status" style="{style}">{said(line)}</div>' if line else "")

    def _put_row(self) -> int:
        if self._answer is not None:
            row: tuple[Widget, ...] = (self._yes, self._no)
        else:
            row = (*((self._names, self._restore) if self._names.options else ()), self._finish)
        waiting = sum(_put(one, disabled=self._waits) for one in row if isinstance(one, Button))
        return waiting + _put(self._row, children=row)


class _Names(Dropdown):  # type: ignore[misc]
    """Files to choose from. New ones come last, so that a choice under way still means the file that was seen."""

    options: Any
    value: Any

    def __init__(self, names: list[str]) -> None:
        self._choosing = threading.RLock()  # a page chooses in one thread, files come in another
        self._known = set(names)
        offered = names[-_MOST_AT_FIRST:]
        super().__init__(
            options=_labelled(offered),
            value=offered[-1] if offered else None,
            tooltip="the file to restore",
            layout=Layout(width="20em"),
        )

    def learn(self, names: list[str]) -> bool:
        """Offer those that are new, in one message; whether there were any."""
        fresh = [name for name in names if name not in self._known][: max(0, _MOST - len(self.options))]
        if not fresh:
            return False
        with self._choosing, self.hold_sync():
            chosen = self.value or fresh[-1]
            self._known.update(fresh)
            self.options = (*self.options, *_labelled(fresh))
            self.value = chosen
        return True

    def chosen(self) -> str | None:
        """The name of the file that is chosen."""
        with self._choosing:
            name: str | None = self.value
            return name

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take in what was chosen in a page."""
        with self._choosing:
            super().set_state(sync_data)


def of(run: Run, total: int | None = None, shell: InteractiveShell | None = None) -> RunWidget:
    """The widget of a run: the one that there is, else a new one."""
    for face in live.watch(run).faces:
        if isinstance(face, RunWidget):
            if total is not None:
                run.total = total
            return face
    return RunWidget(run, total, shell)


def _labelled(names: list[str]) -> tuple[tuple[str, str], ...]:
    return tuple((short(name, 80), name) for name in names)


def _put(widget: Widget, **values: Any) -> int:
    """Change traits of a widget in one message; how many messages that took."""
    changed = {name: value for name, value in values.items() if getattr(widget, name) != value}
    if changed:
        with widget.hold_sync():
            for name, value in changed.items():
                setattr(widget, name, value)
    return min(1, len(changed))
