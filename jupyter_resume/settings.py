"""What a run is asked to be: argument > environment > what a face is configured with > default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from . import keys
from .errors import InvalidInput, KeyRejected
from .identity import DEFAULT_ENTITY, DEFAULT_PROJECT, check_name

MODES = ("local", "online", "offline", "disabled")
_OLD_NAMES = {"run": "online", "dryrun": "offline"}  # of modes, which W&B still takes


@dataclass(frozen=True)
class Settings:
    """The settings of one run, after every source was asked; None means that nobody said anything.

    ``entity`` is `DEFAULT_ENTITY` if nobody said anything; a server then knows which one is meant. ``hint`` is what
    the user may not expect of these settings, in words.
    """

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
    base_url: str
    hint: str | None = None


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
    "base_url": "WANDB_BASE_URL",
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

    server = text("base_url")
    base_url = keys.read_base_url(server or keys.DEFAULT_BASE_URL)
    mode = _mode(text("mode"), base_url, environ)
    hint = None
    if server and mode == "local" and text("mode") is None:
        hint = (
            f"there is no API key for {base_url}, so the run is kept on this machine only: %wb_login or "
            "'jupyter resume login' stores one, mode='local' (WANDB_MODE) says that this is meant."
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
        base_url=base_url,
        hint=hint,
    )


def _mode(asked: str | None, base_url: str, environ: Mapping[str, str]) -> str:
    """What was asked for; else online where there is an API key, and local where there is none."""
    mode = _OLD_NAMES.get(asked or "", asked)
    if mode is not None and mode not in MODES:
        raise InvalidInput(
            f"mode={mode!r} is not known here: use 'local', 'online', 'offline' for a run that is synced "
            "later, or 'disabled' for one of which nothing is kept."
        )
    if mode in (None, "online"):
        found = keys.find(base_url, environ)
        if mode is not None and found is None:
            raise KeyRejected(
                f"mode='online' needs an API key for {base_url}: give one with login() or %wb_login, set "
                "WANDB_API_KEY, or use mode='offline' and sync later."
            )
        return "local" if found is None else "online"
    return mode


def read_tags(given: object) -> tuple[str, ...] | None:
    """Tags as a list of strings, or as one string with commas; each once."""
    if given is None:
        return None
    parts = given.split(",") if isinstance(given, str) else given
    if not isinstance(parts, (list, tuple, set, frozenset)) or not all(isinstance(tag, str) for tag in parts):
        raise InvalidInput(f"tags={given!r:.60} is no list of strings: pass tags=['a', 'b'].")
    return tuple(dict.fromkeys(tag.strip() for tag in parts if tag.strip()))
