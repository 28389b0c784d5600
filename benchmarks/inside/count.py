"""Count the rows of a run on disk, in the tool's own format."""

from __future__ import annotations

from ..trackers import load
from . import arguments, reply

asked = arguments()
reply(rows=load(asked["tool"]).rows(asked["run"]))
