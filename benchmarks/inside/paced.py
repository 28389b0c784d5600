"""Log rows at a given rate and tell the parent after each ``log()`` that returned. Waits to be killed."""

from __future__ import annotations

import time

from ..latency import row
from ..trackers import load
from . import arguments, reply

asked = arguments()
tracker = load(asked["tool"])
reply(run=tracker.start(asked["run"], resume=False))
due = time.monotonic()
for step in range(asked["rows"]):
    time.sleep(max(0.0, due - time.monotonic()))
    tracker.log(row(step), step)
    reply()
    due += 1 / asked["hertz"]
time.sleep(60)
