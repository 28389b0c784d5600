"""A netrc file's text, and a key put into it: every other byte of it stays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


def with_key(text: str, machine: str, key: str) -> str:
    """A netrc file's text with this key for this machine: only the password of its entry changes, or one is added."""
    changes: list[tuple[int, int, str]] = []
    rest = len(text)
    for entry in _entries(text):
        if entry.machine is None:  # a default entry comes last, or it hides what stands behind it
            rest = min(rest, entry.start)
        elif entry.machine == machine:
            start, end = entry.password or (entry.end, entry.end)
            before = "\n  password " if not entry.password else " " if start == end else ""
            changes.append((start, end, before + key))
    if not changes:
        line = "\n" if text[:rest] and not text[:rest].endswith("\n") else ""
        changes.append((rest, rest, f"{line}machine {machine}\n  login user\n  password {key}\n"))
    for start, end, new in reversed(changes):
        text = text[:start] + new + text[end:]
    return text


@dataclass
class _Entry:
    """Where an entry stands; ``machine`` is None for the default one, ``password`` is where its value is."""

    machine: str | None
    start: int
    end: int
    password: tuple[int, int] | None = None


_WORD = re.compile(r'"(?:[^"\\\n]|\\.)*"|\S+')
_MACRO_END = re.compile(r"\n[ \t\r]*(?:\n|\Z)|\Z")


def _entries(text: str) -> Iterator[_Entry]:
    """The entries, comments and macros left out; what makes no sense is passed over."""
    at, entry = 0, None
    while found := _WORD.search(text, at):
        at, word = found.end(), found[0]
        if word.startswith("#"):
            at = text.find("\n", found.start()) + 1 or len(text)
        elif word == "macdef":
            ending = _MACRO_END.search(text, at)
            at = ending.end() if ending else len(text)
        elif word in ("machine", "default"):
            if entry:
                yield entry
            entry = None
            if word == "default":
                entry = _Entry(None, found.start(), at)
            elif name := _WORD.search(text, at):
                at = name.end()
                entry = _Entry(name[0].strip('"'), found.start(), at)
        elif word in ("login", "user", "account", "password"):
            value = _WORD.search(text, at)
            where = value.span() if value else (at, at)
            at = where[1]
            if entry:
                entry.end = at
                if word == "password":
                    entry.password = where
    if entry:
        yield entry
