"""A secret that was typed into a cell, taken out of IPython's memory of its inputs."""

from __future__ import annotations

import contextlib
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

MARK = "***"


def forget(shell: InteractiveShell, secret: str, where: str) -> bool:
    """Replace a secret in the inputs that hold the word ``where``; whether it was in one.

    They are in ``In``, ``_i`` and the like, and in the history file. What the frontend has (the cell
    itself, its undo) stays: a person has to remove that.
    """
    found = False

    def without(text: Any) -> Any:
        nonlocal found
        if not isinstance(text, str) or secret not in text or where not in text:
            return text
        found = True
        return text.replace(secret, MARK)

    for name, value in list(shell.user_ns.items()):
        if name.startswith("_i"):
            shell.user_ns[name] = without(value)
    memory: Any = shell.history_manager
    if memory is None:
        return found
    for inputs in (memory.input_hist_parsed, memory.input_hist_raw):
        inputs[:] = map(without, inputs)
    for name in ("_i00", "_i", "_ii", "_iii"):
        setattr(memory, name, without(getattr(memory, name, "")))
    with contextlib.suppress(Exception):  # the history may be off, or its file in use or read-only
        with memory.db_input_cache_lock:
            memory.db_input_cache = [tuple(map(without, entry)) for entry in memory.db_input_cache]
        memory.db.execute("PRAGMA secure_delete = ON")  # else the file may keep the old bytes
        with memory.db as connection:
            connection.execute(
                "UPDATE history SET source = replace(source, ?, ?), source_raw = replace(source_raw, ?, ?) "
                "WHERE session = ? AND instr(source_raw, ?) AND instr(source_raw, ?)",
                (secret, MARK, secret, MARK, memory.session_number, where, secret),
            )
    return found
