"""What may be recorded: metrics are scalars under checked names, config and summary are plain JSON values."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import numbers
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import InvalidValue

MAX_KEY = 1000
RESERVED = frozenset({"_step", "_timestamp", "_runtime", "_wandb"})
_DEEPEST = 32
_LARGE = 1 << 63
_MOST_BITS = 4096  # of an integer; Python itself refuses to write one of more than some 14,000 in decimal
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

Complaint = tuple[object, str]  # the key, and what is wrong with it or its value


class Metrics:
    """Reads what users log. Names are checked once each: a training loop logs the same ones again and again."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def read(self, data: object) -> tuple[dict[str, Any], bool, list[Complaint]]:
        """A row's values, whether its floats are all finite, and one complaint for each value that was left out.

        Taken: Python, NumPy, PyTorch and JAX scalars (0-d arrays), bool, str, None; a nested dict becomes
        ``outer.inner``.
        """
        row: dict[str, Any] = {}
        complaints: list[Complaint] = []
        finite = True
        if type(data) is not dict and not isinstance(data, Mapping):  # the second question costs four times as much
            return row, finite, [(None, f"log() takes a dict of names and values, not {type(data).__name__}")]
        for key, value in data.items():
            kind = type(value)
            if key in self._known:
                if kind is float:
                    if value - value != 0.0:
                        finite = False
                    row[key] = value
                    continue
                if kind is str or kind is bool or value is None or (kind is int and -_LARGE < value < _LARGE):
                    row[key] = value
                    continue
            finite &= self._read_one(key, value, row, complaints, 0)
        return row, finite, complaints

    def _read_one(self, key: object, value: Any, row: dict[str, Any], complaints: list[Complaint], depth: int) -> bool:
        if complaint := self._check_name(key):
            complaints.append((key, complaint))
            return True
        assert isinstance(key, str)
        if isinstance(value, Mapping):
            if depth == _DEEPEST:
                too_deep = f"{_short(key)} is nested more than {_DEEPEST} deep: log its values by themselves"
                complaints.append((key, too_deep))
                return True
            finite = True
            for inner, nested in value.items():
                name = f"{key}.{inner}" if isinstance(inner, str) else inner
                finite &= self._read_one(name, nested, row, complaints, depth + 1)
            return finite
        try:
            scalar = to_scalar(value)
        except TypeError as error:
            complaints.append((key, f"{_short(key)} {error}"))
            return True
        row[key] = scalar
        return not isinstance(scalar, float) or math.isfinite(scalar)

    def _check_name(self, key: object) -> str | None:
        if key in self._known:
            return None
        if not isinstance(key, str):
            return f"the name {key!r:.60} is {type(key).__name__}, not a string: use str(...)"
        if not key:
            return "a name is empty: give the value a name"
        if len(key) > MAX_KEY:
            return f"the name {_short(key)} has {len(key)} characters, at most {MAX_KEY} are allowed: shorten it"
        if _CONTROL.search(key):
            return f"the name {_short(key)} has control characters in it: leave them out"
        if key in RESERVED:
            return f"the name {key!r} is set by log() itself" + (": pass step=" if key == "_step" else "")
        self._known.add(key)
        return None


def to_scalar(value: Any) -> float | int | str | bool | None:
    """A plain Python scalar for any scalar that users log; TypeError, with the remedy, for anything else."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        if value.bit_length() > _MOST_BITS:
            raise TypeError(f"is an integer of {value.bit_length()} bits: log its logarithm, or a string")
        return int(value)
    if isinstance(value, float):
        return float(value)
    shape = getattr(value, "shape", None)
    if shape is not None and hasattr(value, "item"):
        if tuple(shape) != ():
            raise TypeError(f"has shape {tuple(shape)}: log a scalar, such as its mean or .item() of one element")
        try:
            scalar = value.item()
        except Exception as error:  # traced, on a device without data, deleted
            raise TypeError(
                f"is {_type_name(value)} without a value here ({type(error).__name__}): log it where it has one"
            ) from error
        if isinstance(scalar, (bool, int, float, str)):
            return scalar
    if isinstance(value, numbers.Real):  # such as fractions, and NumPy's longdouble
        with contextlib.suppress(OverflowError):
            return float(value)
    raise TypeError(
        f"is {_type_name(value)}, which cannot be logged: log a number, string, bool or None, or save() it as a file"
    )


def to_plain(value: Any, name: str, depth: int = 0) -> Any:
    """A JSON value for a config or summary value; InvalidValue, naming it, if there is none."""
    if depth > _DEEPEST:
        raise InvalidValue(f"{_short(name)} is nested more than {_DEEPEST} deep: flatten it.", key=name)
    if isinstance(value, Mapping):
        plain = {}
        for key, inner in value.items():
            if not isinstance(key, (str, int, float, bool)):
                raise InvalidValue(
                    f"{_short(name)} has the key {key!r:.60}, which is no string: use strings.", key=name
                )
            plain[str(key)] = to_plain(inner, f"{name}.{key}", depth + 1)
        return plain
    if isinstance(value, (list, tuple, set, frozenset, range)):
        return [to_plain(inner, f"{name}[{n}]", depth + 1) for n, inner in enumerate(value)]
    if isinstance(value, (Path, os.PathLike)):
        return os.fspath(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return to_plain({f.name: getattr(value, f.name) for f in dataclasses.fields(value)}, name, depth + 1)
    if hasattr(value, "tolist") and getattr(value, "shape", ()) != ():
        return to_plain(value.tolist(), name, depth + 1)
    try:
        return to_scalar(value)
    except TypeError as error:
        raise InvalidValue(
            f"{_short(name)} is {_type_name(value)}, which cannot be recorded: use numbers, strings, lists and dicts.",
            key=name,
        ) from error


def to_config(config: object) -> dict[str, Any]:
    """A dict for what users pass as ``config=``: a mapping, a dataclass, or an ``argparse.Namespace``."""
    if config is None:
        return {}
    if not isinstance(config, Mapping) and not dataclasses.is_dataclass(config) and hasattr(config, "__dict__"):
        config = vars(config)
    plain = to_plain(config, "config") if isinstance(config, Mapping) or dataclasses.is_dataclass(config) else None
    if not isinstance(plain, dict):
        raise InvalidValue(f"config= is {_type_name(config)}: pass a dict of names and values.", key="config")
    return plain


def _type_name(value: object) -> str:
    kind = type(value)
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
