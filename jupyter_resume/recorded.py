"""``run.config`` and ``run.summary``: mappings whose every change is in the record when the assignment returns."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

from .errors import InvalidValue, RunClosed
from .store.writer import Writer
from .values import to_config, to_plain


class Recorded(MutableMapping[str, Any]):
    """A mapping of JSON values in a run's record; ``x.lr`` reads and writes ``x["lr"]``.

    What it returns is a copy: assign a whole value to change a nested one. Raises InvalidValue for what cannot
    be recorded, RunClosed once the run is finished.
    """

    def __init__(self, writer: Writer, kind: str, values: dict[str, Any]) -> None:
        self.__dict__.update(_writer=writer, _kind=kind, _values=values)

    _writer: Writer
    _kind: str
    _values: dict[str, Any]

    def update(self, values: object = (), allow_val_change: bool | None = None, **more: Any) -> None:  # type: ignore[override]
        """Set several keys at once, from a mapping, pairs, a dataclass or a namespace.

        ``allow_val_change`` is accepted for W&B's sake: new values always win.
        """
        pairs = dict(values) if isinstance(values, (list, tuple)) else to_config(values)
        self._change({**pairs, **more})

    def setdefaults(self, values: Mapping[str, Any]) -> None:
        """Set the keys that are not there yet."""
        self._change({key: value for key, value in values.items() if key not in self})

    def as_dict(self) -> dict[str, Any]:
        """A plain copy."""
        with self._writer.lock:
            return copy.deepcopy(self._values)

    def _change(self, values: Mapping[Any, Any], drop: tuple[str, ...] = ()) -> None:
        if self._writer.closed:
            raise RunClosed(
                f"Run {self._writer.point.path} has ended: init() it again with resume='allow' to change it."
            )
        for key in values:
            if not isinstance(key, str) or not key:
                raise InvalidValue(f"The name {key!r:.60} is no string: use strings as names.", key=key)
        plain = {key: to_plain(value, key) for key, value in values.items()}
        if plain or drop:
            self._writer.put(self._kind, {"set": plain, "drop": list(drop)})

    def __getitem__(self, key: str) -> Any:
        value = self._values[key]
        return copy.deepcopy(value) if isinstance(value, (dict, list)) else value

    def __setitem__(self, key: str, value: Any) -> None:
        self._change({key: value})

    def __delitem__(self, key: str) -> None:
        if key not in self._values:
            raise KeyError(key)
        self._change({}, (key,))

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._values))

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"no {name!r} here; there is {', '.join(self) or 'nothing yet'}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        return dict, (self.as_dict(),)  # a copy, here or in another process, is no part of the run

    def __repr__(self) -> str:
        return repr(self.as_dict())
