"""Tables and messages: values that display themselves, in a notebook and in a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from .wording import esc, said, short


@dataclass(frozen=True)
class Table:
    """Rows under headings that display themselves; ``empty`` is said when there are none, ``note`` below them."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str = "nothing"
    note: str = ""

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        if not self.rows:
            return self.empty
        cells = [self.columns, *(tuple(short(cell) for cell in row) for row in self.rows)]
        widths = [max(len(row[n]) for row in cells) for n in range(len(self.columns))]
        lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in cells]
        return "\n".join([*lines, self.note] if self.note else lines)

    def _repr_html_(self) -> str:
        if not self.rows:
            return f"<div>{esc(self.empty)}</div>"
        head = "".join(f'<th style="text-align:left">{esc(column)}</th>' for column in self.columns)
        body = "".join(
            "<tr>" + "".join(f'<td style="text-align:left">{said(short(cell))}</td>' for cell in row) + "</tr>"
            for row in self.rows
        )
        note = f"<div>{esc(self.note)}</div>" if self.note else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"


@dataclass(frozen=True, repr=False)
class Message:
    """One line that displays itself."""

    line: str

    def __repr__(self) -> str:
        return short(self.line, 400)

    def _repr_html_(self) -> str:
        return f"<div>{esc(self)}</div>"
