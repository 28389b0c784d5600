"""Begin a run, or resume it, log one row, tell when that was, and finish when told to."""

from __future__ import annotations

import sys
import time

from ..latency import row
from ..trackers import load
from . import arguments, reply

asked = arguments()
tracker = load(asked["tool"])
began = time.monotonic()  # a clock that all processes of a machine share
tracker.start(asked["run"], resume=asked["resume"])
returned = time.monotonic()
tracker.log(row(0), 0)
reply(began=began, returned=returned, step=tracker.next_step())
sys.stdin.readline()
tracker.finish()
reply(done=True)
