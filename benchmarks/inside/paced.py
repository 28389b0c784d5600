"""Log rows at a given rate and tell the parent after each ``log()`` that returned. Killed, or told to finish."""

from __future__ import annotations

import sys
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
sys.stdin.readline()
tracker.finish()
reply(done=True)
