"""What a run is asked to be: argument > environment > what a face is configured with > default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import InvalidInput
from .identity import DEFAULT_ENTITY, DEFAULT_PROJECT, check_name

MODES = ("local", "offline")


@dataclass(frozen=True)
class Settings:
    """The settings of one run, after every source was asked; None means that nobody said anything."""

    project: str
    entity: str
    run_id: str | None
    resume: object
    name: str | None
    notes: str | None
    tags: tuple[str, ...] | None
    group: str | None
    job_type: str | None
    dir: Path | None
    mode: str


_ENVIRONMENT = {
    "project": "WANDB_PROJECT",
    "entity": "WANDB_ENTITY",
    "id": "WANDB_RUN_ID",
    "resume": "WANDB_RESUME",
    "name": "WANDB_NAME",
    "notes": "WANDB_NOTES",
    "tags": "WANDB_TAGS",
    "group": "WANDB_RUN_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "dir": "WANDB_DIR",
    "mode": "WANDB_MODE",
}


def resolve(
    arguments: Mapping[str, object],
    environ: Mapping[str, str] = os.environ,
    configured: Mapping[str, object] | None = None,
) -> Settings:
    """The settings for these arguments of ``init``; an argument of None, and an empty variable, say nothing."""

    def ask(name: str) -> object:
        if arguments.get(name) is not None:
            return arguments[name]
        return environ.get(_ENVIRONMENT[name]) or (configured or {}).get(name) or None

    def text(name: str) -> str | None:
        value = ask(name)
        if value is not None and not isinstance(value, str):
            raise InvalidInput(f"{name}={value!r:.60} is {type(value).__name__}: pass a string.")
        return value

    mode = text("mode") or "local"
    if mode not in MODES:
        raise InvalidInput(
            f"mode={mode!r} is not known here: use 'local', or 'offline' for a run that is synced later."
        )
    run_id = ask("id")
    folder = ask("dir")
    if folder is not None and not isinstance(folder, (str, os.PathLike)):
        raise InvalidInput(f"dir={folder!r:.60} is no folder: pass a path.")
    return Settings(
        project=check_name(text("project") or DEFAULT_PROJECT, "project"),
        entity=check_name(text("entity") or DEFAULT_ENTITY, "entity"),
        run_id=run_id if run_id is None or isinstance(run_id, str) else str(run_id),
        resume=ask("resume"),
        name=text("name"),
        notes=text("notes"),
        tags=read_tags(ask("tags")),
        group=text("group"),
        job_type=text("job_type"),
        dir=None if folder is None else Path(folder).expanduser().absolute(),
        mode=mode,
    )


def read_tags(given: object) -> tuple[str, ...] | None:
    """Tags as a list of strings, or as one string with commas; each once."""
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, (list, tuple, set, frozenset)) or not all(isinstance(tag, str) for tag in parts):
        raise InvalidInput(f"tags={given!r:.60} is no list of strings: pass tags=['a', 'b'].")
    return tuple(dict.fromkeys(tag.strip() for tag in parts if tag.strip()))
