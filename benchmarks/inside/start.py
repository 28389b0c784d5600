"""Begin a run, or resume it, in a fresh process; then end it in the way that was asked for."""

from __future__ import annotations

import os
import signal
from time import perf_counter

from ..latency import row
from ..trackers import load
from . import arguments, reply

asked = arguments()
before = perf_counter()
tracker = load(asked["tool"])
imported = perf_counter()
run = tracker.start(asked["run"], resume=asked["resume"])
started = perf_counter()
step = tracker.next_step()
for offset in range(asked["rows"]):
    tracker.log(row(offset), offset)
answer = {"run": run, "import": imported - before, "init": started - imported, "step": step}
if asked["killed"]:
    reply(**answer)
    os.kill(os.getpid(), signal.SIGKILL)
tracker.finish()
reply(**answer)
