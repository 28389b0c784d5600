"""Which files of a run a server has, as far as is known here: a line for each that was sent, in a file of their own.

So an upload costs a line to remember, however many files there are. A line that a killed process left torn, or that
was damaged, is passed over: that costs a question to the server and nothing more.
"""

from __future__ import annotations

from pathlib import Path

from . import lines
from .blobs import beside

Files = dict[str, list[str]]  # names with [digest, md5 in base64]
_SPARE = 100  # lines that are superseded, before the file is written anew


class Uploaded:
    """The lines at ``path``. One process at a time writes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._there: Files | None = None  # what the lines say; None: they are to be written anew
        self._count = 0

    def load(self) -> Files:
        """What is known; of several lines of one name the last counts."""
        files: Files = {}
        try:
            *whole, torn = self.path.read_bytes().split(b"\n")
        except OSError:
            whole, torn = [], b""
        for line in whole:
            match lines.unseal(line):
                case (lines.FILE, [str(name), str(digest), str(md5)]):
                    files[name] = [digest, md5]
        self._there, self._count = None if torn else files, len(whole)
        return files

    def save(self, files: Files, added: str | None = None) -> None:
        """Remember ``files``. Of the dict that was given here or by `load` before, only what is ``added`` is written.

        Raises OSError; they are then written anew the next time.
        """
        anew = files is not self._there or self._count > 2 * len(files) + _SPARE
        self._there = None
        if anew and not files:
            self.path.unlink(missing_ok=True)
            self._count = 0
        elif anew:
            fresh = beside(self.path)
            try:
                fresh.write_bytes(b"".join(_line(name, files) for name in files))
                fresh.replace(self.path)
            finally:
                fresh.unlink(missing_ok=True)
            self._count = len(files)
        elif added is not None:
            line = _line(added, files)
            with self.path.open("ab", buffering=0) as file:
                if file.write(line) != len(line):
                    return
            self._count += 1
        self._there = files


def _line(name: str, files: Files) -> bytes:
    return lines.seal(lines.FILE, lines.dump_any([name, *files[name]]))
