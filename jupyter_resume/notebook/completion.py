"""TAB in a ``%wb_*`` line: options, policies, run ids and file names, from this machine's store alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher

from .. import _active
from ..errors import ResumeError
from ..saving import POLICIES
from ..settings import MODES
from ..store.home import Store
from .magics import ResumeMagics

_RESUME = ("allow", "must", "never", "auto")
_MOST = 200


@context_matcher()
def complete(context: CompletionContext) -> SimpleMatcherResult:
    """The matcher that the extension adds to IPython's."""
    line = context.full_text.split("\n")[context.cursor_line][: context.cursor_position]
    magic = re.search(r"%(wb_\w+)\s+(.*)$", line)
    if magic is None:
        return {"completions": []}
    start, _, token = magic[2].rpartition(" ")
    before = start.split()
    if token.startswith("--") and "=" in token:
        option, _, token = token.partition("=")
        before.append(option)
    found = [word for word in _candidates(magic[1], before, token) if word.startswith(token)]
    return {
        "completions": [SimpleCompletion(word, type="param") for word in found[:_MOST]],
        "matched_fragment": token,
        "suppress": bool(found) or magic[1] != "wb_save",  # only there a path of the file system may be meant
    }


def _candidates(magic: str, before: list[str], token: str) -> Iterable[str]:
    parser = getattr(getattr(ResumeMagics, magic, None), "parser", None)
    if parser is None:
        return ()
    if token.startswith("-"):
        return sorted(
            option for action in parser._actions for option in action.option_strings if option.startswith("--")
        )
    try:
        return _values(magic, before)
    except (ResumeError, OSError):  # completion never fails a keystroke
        return ()


def _values(magic: str, before: list[str]) -> Iterable[str]:
    option = before[-1] if before else ""
    if option == "--resume":
        return _RESUME
    if option == "--policy":
        return POLICIES
    if option == "--mode":
        return MODES
    entries = Store().catalog.runs()
    if option == "--id":
        return (entry.path.run_id for entry in entries)
    if option == "--project":
        return sorted({entry.path.project for entry in entries})
    if option == "--entity":
        return sorted({entry.path.entity for entry in entries})
    positional = [word for word in before if not word.startswith("-")]
    if magic in ("wb_status", "wb_files") or (magic == "wb_restore" and len(positional) == 1):
        return (f"{entry.path.project}/{entry.path.run_id}" for entry in entries)
    if magic == "wb_restore" and not positional and (run := _active.active()):
        return sorted(run.files)
    return ()
