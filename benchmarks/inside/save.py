"""Save one file some times, each time when told to; after the last time the run is finished."""

from __future__ import annotations

import sys

from ..trackers import load
from . import arguments, reply

asked = arguments()
tracker = load(asked["tool"])
tracker.start(asked["run"], resume=asked["resume"])
for number in range(asked["times"]):
    if number:
        sys.stdin.readline()
    tracker.save(asked["name"])
    reply(saved=True)
tracker.finish()
reply(done=True)
