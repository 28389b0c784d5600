"""Who may do what: keys with an entity and a role, stored as hashes.

A key is 40 hex digits, the form that W&B's SDK insists on. It is random, so a plain SHA-256 of it can be kept:
there is nothing to guess. The file is read again whenever it changes, so a revoked key stops working at once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import re
import secrets
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InvalidInput
from ..identity import DEFAULT_ENTITY, check_name
from ..store.blobs import beside
from .refusals import Refusal

ROLES = ("read", "write")
EVERY = "*"
_FORM = re.compile(r"(?:[\w-]+-)?[\w-]{40,}")


@dataclass(frozen=True)
class Key:
    """An entry of the key file: what is known of a key, but not the key. ``made`` in Unix seconds."""

    name: str
    entity: str
    role: str
    made: float
    sha256: str


@dataclass(frozen=True)
class Client:
    """Who asks. ``entity`` is the one that is meant where a request names none; ``*`` lets it use any."""

    name: str
    entity: str
    role: str
    only: str = EVERY

    def may_read(self, entity: str) -> bool:
        """Whether runs of this entity may be seen."""
        return self.only in (EVERY, entity)

    def check_read(self, entity: str) -> None:
        """Raise Refusal unless runs of this entity may be seen."""
        if not self.may_read(entity):
            raise Refusal(403, f"The key {self.name!r} is for entity {self.only!r} and not for {entity!r}.")

    def check_write(self, entity: str) -> None:
        """Raise Refusal unless runs of this entity may be written."""
        self.check_read(entity)
        if self.role != "write":
            raise Refusal(403, f"The key {self.name!r} is for reading only: ask for one with the role 'write'.")


class Keys:
    """The key file of a store."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._read_at: tuple[int, int] | None = None
        self._keys: dict[str, Key] = {}

    def all(self) -> list[Key]:
        """Every key that is valid now, oldest first."""
        try:
            stat = self.file.stat()
        except FileNotFoundError:
            self._keys, self._read_at = {}, None
            return []
        if (mark := (stat.st_mtime_ns, stat.st_ino)) != self._read_at:
            entries = [Key(**entry) for entry in json.loads(self.file.read_text())]
            self._keys, self._read_at = {key.sha256: key for key in entries}, mark
        return list(self._keys.values())

    def make(self, name: str, role: str = "write", entity: str = DEFAULT_ENTITY) -> str:
        """A new key, which is shown this once. Raises InvalidInput if there is one of this name."""
        check_name(name, "key's name")
        if entity != EVERY:
            check_name(entity, "entity")
        if role not in ROLES:
            raise InvalidInput(f"The role {role!r} is not known: use 'read' or 'write'.")
        keys = self.all()
        if any(key.name == name for key in keys):
            raise InvalidInput(f"There is a key named {name!r} already: revoke it first, or choose another name.")
        text = secrets.token_hex(20)
        self._write([*keys, Key(name, entity, role, time.time(), _hash(text))])
        return text

    def revoke(self, name: str) -> None:
        """Make the key of this name invalid. Raises InvalidInput if there is none."""
        keys = self.all()
        rest = [key for key in keys if key.name != name]
        if len(rest) == len(keys):
            raise InvalidInput(f"There is no key named {name!r}: list them with 'jupyter resume serve --list-keys'.")
        self._write(rest)

    def find(self, text: str) -> Key | None:
        """What is known of a key that a request carries."""
        self.all()
        return self._keys.get(_hash(text))

    def _write(self, keys: list[Key]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = beside(self.file)
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w") as file:
            json.dump([asdict(key) for key in keys], file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self.file)


def client(keys: Keys, authorization: str | None, trusting: bool) -> Client:
    """Whose request this is, by its Authorization header (Basic with the key as password, or Bearer).

    ``trusting``: while no key was made, any key of the right form is taken. Raises Refusal 401.
    """
    text = _key_in(authorization)
    if text is None:
        raise Refusal(401, "No API key came with the request: set WANDB_API_KEY to a key of this server.")
    if known := keys.find(text):
        entity = DEFAULT_ENTITY if known.entity == EVERY else known.entity
        return Client(known.name, entity, known.role, known.entity)
    if trusting and not keys.all():
        if not _FORM.fullmatch(text):
            raise Refusal(401, "That is no API key: it has 40 or more letters, digits, - or _.")
        return Client(DEFAULT_ENTITY, DEFAULT_ENTITY, "write")
    raise Refusal(401, "The API key is not valid here: ask for one made with 'jupyter resume serve --make-key'.")


def _key_in(authorization: str | None) -> str | None:
    scheme, _, rest = (authorization or "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip() or None
    if scheme.lower() != "basic":
        return None
    try:
        user, _, password = base64.b64decode(rest, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return password or user or None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
