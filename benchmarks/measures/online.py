"""Online: what a run costs while its replica on a server follows it, ours and wandb's on the same server.

The server is ours, on this machine; what is sent goes through a relay that counts it, and can make the way longer.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import pairwise
from statistics import median

from ..bench import Bench
from ..child import Child, ask
from ..place import Place, ours
from ..plan import MIB
from ..relay import relay
from ..results import Result
from ..tools import FLOOR, OURS, Tool
from ..trackers import PROJECT
from .files import random_file

FILE = "model.bin"
_PEER = "wandb"

Trials = dict[tuple[str, str], list[float]]  # by case and tool


def measure(bench: Bench) -> Iterator[Result]:
    tools = [tool for tool in bench.tools if tool.name in (OURS.name, _PEER)]
    with bench.home() as home, ours(home) as place:
        yield from _log(bench, place, tools)
        yield from _ready(bench, place, tools)
        yield from _traffic(bench, place, tools)
        yield from _unchanged(bench, place, tools)
        yield from _killed(bench, place, tools)


def _log(bench: Bench, place: Place, tools: list[Tool]) -> Iterator[Result]:
    """``log()`` in every mode, in turns; the floor is os.write."""
    plan = bench.plan
    url = f"http://127.0.0.1:{place.port}"
    variants = [("", FLOOR)]
    for tool in tools:
        variants += [("online", tool.online(url)), ("offline", tool.set(WANDB_MODE="offline"))]
        variants += [("local", tool)] if tool is OURS else []
    took: dict[tuple[str, str, str], list[dict[str, float]]] = defaultdict(list)
    loops = {"tight loop": 0.0, "computing in between": plan.online_paced_seconds}
    for number, turn in enumerate(bench.rounds(plan.log_rounds, "online, log", variants)):
        for loop, over in loops.items():
            for mode, tool in turn:
                run = f"log-{tool.name}-{number}-{bool(over):d}"
                with bench.home() as home:
                    took[loop, mode, tool.name].append(ask(tool, "log", home, run=run, calls=plan.log_calls, over=over))
                if mode == "online" and (there := place.rows(PROJECT, run)) != plan.log_calls:
                    raise RuntimeError(f"{tool.name} logged {plan.log_calls} rows, and the server has {there}.")
    for loop in loops:
        for statistic in ("p50", "p99", "max"):
            floor = [each[statistic] for each in took[loop, "", FLOOR.name]]
            for mode in ("online", "offline", "local"):
                case = f"log() {statistic}, {loop}, {mode}"
                for tool in tools:
                    if trials := [each[statistic] for each in took[loop, mode, tool.name]]:
                        if statistic == "max":
                            yield Result.of("online", case, tool.name, trials, pick=max)
                        else:
                            yield Result.of("online", case, tool.name, trials, floor=floor)
                yield Result.of("online", case, FLOOR.name, floor, pick=max if statistic == "max" else median)


def _ready(bench: Bench, place: Place, tools: list[Tool]) -> Iterator[Result]:
    """From ``init()`` until it returned, and until the server accepted the first row that is logged then."""
    plan = bench.plan
    for latency in plan.latencies:
        trials: Trials = defaultdict(list)
        far = f"{latency * 1000:g} ms away"
        for number, turn in enumerate(bench.rounds(plan.ready_rounds, f"online, init, {far}", tools)):
            for tool in turn:
                run = f"ready-{tool.name}-{number}-{latency * 1000:g}"
                with bench.home() as home, bench.home() as other, relay(other, place, latency) as way:
                    for rows, how in enumerate(("new", "resumed")):
                        with Child(tool.online(way.url), "ready", home, run=run, resume=bool(rows)) as child:
                            said = child.reply()
                            accepted = way.until_rows(said["began"])
                            child.go()
                            child.reply()
                        if (there := place.rows(PROJECT, run)) != rows + 1:
                            raise RuntimeError(f"{tool.name} logged row {rows + 1}, and the server has {there}.")
                        trials[f"init() returns, {how}, {far}", tool.name].append(said["returned"] - said["began"])
                        trials[f"init() to the first row accepted, {how}, {far}", tool.name].append(
                            accepted - said["began"]
                        )
        yield from _beside_the_peer(trials)


def _traffic(bench: Bench, place: Place, tools: list[Tool]) -> Iterator[Result]:
    """Requests and bytes a minute of a run that logs steadily; all at once, each through a relay of its own."""
    plan = bench.plan
    cases = [(latency, tool) for latency in plan.traffic_latencies for tool in tools]
    rows = int((plan.traffic_warm + plan.traffic_seconds) * plan.traffic_hertz)
    for turn in bench.rounds(1, "online, traffic", cases):
        with ExitStack() as stack:
            ways, children = [], []
            for number, (latency, tool) in enumerate(turn):
                homes = [stack.enter_context(bench.home()) for _ in range(2)]
                way = stack.enter_context(relay(homes[0], place, latency))
                asked = {"run": f"traffic-{number}", "rows": rows, "hertz": plan.traffic_hertz}
                children.append(stack.enter_context(Child(tool.online(way.url), "paced", homes[1], **asked)))
                ways.append(way)
            for child in children:
                child.reply()  # its init has returned
            time.sleep(plan.traffic_warm)
            before = [way.counts() for way in ways]
            time.sleep(plan.traffic_seconds)
            seen = [way.counts().since(earlier) for way, earlier in zip(ways, before, strict=True)]
            for child in children:
                list(child.replies(rows))
                child.go()
            for number, child in enumerate(children):
                child.reply()
                if (there := place.rows(PROJECT, f"traffic-{number}")) != rows:
                    raise RuntimeError(f"{cases[number][1].name} logged {rows} rows, and the server has {there}.")
    trials: Trials = {}
    notes: dict[str, list[str]] = defaultdict(list)
    for (latency, tool), kinds in zip(cases, seen, strict=True):
        far = f"{latency * 1000:g} ms away"
        for case, what in (("requests", "requests"), ("bytes sent", "sent"), ("bytes received", "received")):
            total = sum(counted[what] for counted in kinds.values())
            case = f"{case} a minute at {plan.traffic_hertz:g} rows a second, {far}"
            trials[case, tool.name] = [total * 60 / plan.traffic_seconds]
        said = ", ".join(f"{counted['requests']} {kind}" for kind, counted in sorted(kinds.items()))
        notes[tool.name].append(f"{far} it sent {said or 'nothing'} in {plan.traffic_seconds:g} s")
    said_of = {name: "; ".join(said) for name, said in notes.items()}
    yield from _beside_the_peer(trials, unit="", notes=said_of)


def _unchanged(bench: Bench, place: Place, tools: list[Tool]) -> Iterator[Result]:
    """Bytes of a file's content that are sent when it is saved again, unchanged."""
    size = bench.plan.online_file
    trials: Trials = defaultdict(list)
    for turn in bench.rounds(1, "online, unchanged file", tools):
        for tool in turn:
            run = f"file-{tool.name}"
            with ExitStack() as stack:
                homes = [stack.enter_context(bench.home()) for _ in range(3)]
                random_file(homes[0] / FILE, size)
                (homes[1] / FILE).hardlink_to(homes[0] / FILE)
                way = stack.enter_context(relay(homes[2], place))
                here, there = tool.online(way.url), {"run": run, "name": FILE}
                sent = [0]
                with Child(here, "save", homes[0], resume=False, times=2, **there) as child:
                    child.reply()
                    way.until_uploaded(FILE, size)
                    time.sleep(bench.plan.settle_seconds)  # what the tool does after an upload
                    sent.append(way.counts().uploaded(FILE))
                    child.go()
                    list(child.replies(2))
                    sent.append(way.counts().uploaded(FILE))
                for home in homes[:2]:
                    with Child(here, "save", home, resume=True, times=1, **there) as child:
                        list(child.replies(2))
                    sent.append(way.counts().uploaded(FILE))
            whens = ("saved", "saved again", "saved in the next session", "saved from another machine")
            for when, (before, after) in zip(whens, pairwise(sent), strict=True):
                how = "sent" if when == "saved" else "sent again"
                trials[f"MiB {how}, {size // MIB} MiB {when}", tool.name].append((after - before) / MIB)
    for (case, name), sizes in trials.items():
        yield Result.of("online", case, name, sizes, unit="MiB")


def _killed(bench: Bench, place: Place, tools: list[Tool]) -> Iterator[Result]:
    """Rows that the server lacks after SIGKILL, of those whose ``log()`` had returned, and after the next ``init``."""
    plan = bench.plan
    url = f"http://127.0.0.1:{place.port}"
    for rows, hertz in plan.kill_cases:
        trials: Trials = defaultdict(list)
        case = f"{rows} rows at {hertz:g} a second"
        for number, turn in enumerate(bench.rounds(plan.kill_rounds, f"online, kill, {case}", tools)):
            with ExitStack() as stack:
                killed = []
                for tool in turn:
                    home = stack.enter_context(bench.home())
                    run = f"killed-{tool.name}-{rows}-{number}"
                    with Child(tool.online(url), "paced", home, run=run, rows=rows, hertz=hertz) as child:
                        child.reply()
                        returned = sum(1 for _ in child.replies(rows))
                        child.kill()
                    killed.append((tool, home, run, returned))
                time.sleep(plan.settle_seconds)
                for tool, _, run, returned in killed:
                    lacking = returned - place.rows(PROJECT, run)
                    trials[f"{plan.settle_seconds:g} s after the kill", tool.name].append(lacking)
                for tool, home, run, returned in killed:
                    ask(tool.online(url), "start", home, run=run, resume=True, rows=0, killed=False)
                    lacking = returned - place.rows(PROJECT, run)
                    trials["after the next init", tool.name].append(lacking)
        for (when, name), lacked in trials.items():
            yield Result.of("online", f"rows the server lacks {when}, {case}", name, lacked, unit="rows")


def _beside_the_peer(trials: Trials, unit: str = "s", notes: dict[str, str] | None = None) -> Iterator[Result]:
    """Results of which the ratio of ours is to wandb's, where that was measured."""
    for (case, name), times in trials.items():
        peer = trials.get((case, _PEER)) if name == OURS.name else None
        yield Result.of("online", case, name, times, unit=unit, floor=peer, note=(notes or {}).get(name, ""))
