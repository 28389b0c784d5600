"""Log in a tight loop, or over some seconds, and tell how long the calls took."""

from __future__ import annotations

from ..latency import latencies
from ..trackers import load
from . import arguments, reply

asked = arguments()
tracker = load(asked["tool"])
tracker.start(asked["run"], resume=False)
took = latencies(tracker.log, asked["calls"], asked["over"])
tracker.finish()
reply(**took)
