"""Which run: run ids and run paths.

Source: the document on resuming ("at most 64 characters; unrecognised characters become dashes").
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from .errors import InvalidInput, InvalidRunId, InvalidRunPath

MAX_ID = 64
MAX_NAME = 128
DEFAULT_ENTITY = "local"
DEFAULT_PROJECT = "uncategorized"

_ALPHABET = string.digits + string.ascii_lowercase
_OUTSIDE_ID = re.compile(r"[^A-Za-z0-9_-]")
_PAGE = re.compile(r"https?://[^/?#]+/(?:[^?#]*/)?([^/?#]+)/([^/?#]+)/runs/([^/?#]+)")
_FORBIDDEN_IN_NAMES = re.compile(r"[/\\#?%:\x00-\x1f\x7f\ud800-\udfff]")


def generate_id(length: int = 8) -> str:
    """A new run id: ``length`` random characters of ``0-9a-z``.

    >>> len(generate_id())
    8
    """
    if not 1 <= length <= MAX_ID:
        raise InvalidRunId(f"A run id has 1 to {MAX_ID} characters: {length} were asked for.")
    number = int.from_bytes(os.urandom(length + 8), "big")  # the 8 bytes more make every id equally likely
    return "".join(_ALPHABET[number // 36**n % 36] for n in range(length))


def clean_id(text: object) -> str:
    """The run id to use for what a user gave: bounded, and dashes for unrecognised characters.

    >>> clean_id("my run/1")
    'my-run-1'
    """
    if not isinstance(text, str):
        raise InvalidRunId(f"A run id is a string, not {type(text).__name__}: pass id=str(...).")
    if not text.strip():
        raise InvalidRunId("The run id is empty: give 1 to 64 characters, or leave id out for a new one.")
    if len(text) > MAX_ID:
        raise InvalidRunId(
            f"The run id has {len(text)} characters and at most {MAX_ID} are allowed: shorten {text[:24]!r}..."
        )
    return _OUTSIDE_ID.sub("-", text)


def as_given(text: str) -> str:
    """The run id as it stands: other clients leave dots and spaces in the ids of a server's runs."""
    return text


def ids_there(text: str) -> tuple[str, ...]:
    """The ids that a run may have on a server: as it was given, and as it is used here.

    >>> ids_there("resnet-v1.5")
    ('resnet-v1.5', 'resnet-v1-5')
    """
    return tuple(dict.fromkeys((text, clean_id(text)))) if len(text) <= MAX_ID else (text,)


def check_name(text: object, what: str) -> str:
    """An entity or project name as given, or InvalidInput; ``what`` names it in the message."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"The {what} is empty or not a string: give a name of 1 to {MAX_NAME} characters.")
    if len(text) > MAX_NAME:
        raise InvalidInput(f"The {what} has {len(text)} characters and at most {MAX_NAME} are allowed.")
    if found := _FORBIDDEN_IN_NAMES.search(text):
        raise InvalidInput(
            f"The {what} {text!r} contains {found.group()!r}: leave out / \\ # ? % :, control characters and broken "
            "Unicode."
        )
    return text


@dataclass(frozen=True)
class RunPath:
    """The full name of a run: ``entity/project/run_id``."""

    entity: str
    project: str
    run_id: str

    @classmethod
    def parse(
        cls,
        text: str,
        entity: str = DEFAULT_ENTITY,
        project: str = DEFAULT_PROJECT,
        clean: Callable[[str], str] = clean_id,
    ) -> RunPath:
        """Read ``entity/project/run_id``, ``entity/project/runs/run_id``, ``project/run_id`` or ``run_id``.

        The address of a run's page will do, too, and ``project:run_id`` for ``project/run_id``. What the text leaves
        out is taken from ``entity`` and ``project``. ``clean`` is applied to the run id: a server may have runs whose
        ids were not made here (`as_given`).

        >>> str(RunPath.parse("mnist/a1b2c3d4"))
        'local/mnist/a1b2c3d4'
        """
        if not isinstance(text, str):
            raise InvalidRunPath(f"A run path is a string like 'project/run_id', not {type(text).__name__}.")
        if page := _PAGE.match(text.strip()):
            return cls.of(*map(unquote, page.groups()), clean=clean)
        parts = text.rstrip().strip("/").split("/")
        if len(parts) <= 2 and ":" in parts[-1]:
            parts[-1:] = parts[-1].split(":", 1)
        if len(parts) == 4 and parts[2] == "runs":
            del parts[2]
        if not 1 <= len(parts) <= 3 or not all(part.strip() for part in parts):
            raise InvalidRunPath(
                f"{text[:200]!r} is no run path: write entity/project/run_id, project/run_id or run_id."
            )
        parts = [entity, project][: 3 - len(parts)] + parts
        return cls.of(*parts, clean=clean)

    @classmethod
    def of(cls, entity: str, project: str, run_id: str, *, clean: Callable[[str], str] = clean_id) -> RunPath:
        """A checked path; the run id is cleaned."""
        return cls(check_name(entity, "entity"), check_name(project, "project"), clean(run_id))

    def __str__(self) -> str:
        return f"{self.entity}/{self.project}/{self.run_id}"
