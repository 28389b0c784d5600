"""How much is measured: the full plan that results.json is made with, and a quick one to try the scripts."""

from __future__ import annotations

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True)
class Plan:
    """Sizes and repetitions. Every number of rounds is a number of interleaved trials of each tool."""

    import_rounds: int = 7
    init_rounds: int = 5
    log_rounds: int = 3
    log_calls: int = 20_000
    paced_seconds: float = 5.0  # a tight loop is over before a display refreshes twice
    kill_rounds: int = 3
    kill_cases: tuple[tuple[int, float], ...] = ((200, 100.0), (30, 5.0))  # rows, rows a second
    settle_seconds: float = 6.0  # after a kill: what helper processes of a tool still write is theirs to keep
    resume_rounds: int = 5
    lengths: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    file_rounds: int = 5
    file_sizes: tuple[int, ...] = (256 * MIB, 1024 * MIB)
    serve_rounds: int = 3
    serve_clients: tuple[int, ...] = (1, 8, 32)
    serve_posts: int = 800  # of 100 rows each, shared by the clients
    serve_runs: tuple[int, ...] = (10, 10_000)
    serve_lengths: tuple[int, ...] = (1_000, 1_000_000)
    serve_queries: int = 200
    serve_file: int = 256 * MIB
    lab_runs: tuple[int, ...] = (10, 10_000)
    lab_lengths: tuple[int, ...] = (1_000, 1_000_000)
    lab_asks: int = 200
    panel_loads: int = 7
    frame_rounds: int = 3
    frame_seconds: float = 5.0
    online_paced_seconds: float = 20.0  # some posts fall in it
    latencies: tuple[float, ...] = (0.0, 0.05)  # seconds of a round trip
    ready_rounds: int = 3
    traffic_latencies: tuple[float, ...] = (0.0, 0.15)  # the longer one is longer than it takes until the next row
    traffic_warm: float = 20.0  # until the first posts of a session are over
    traffic_seconds: float = 60.0
    traffic_hertz: float = 10.0
    online_file: int = 64 * MIB
    log_calls_of: dict[str, int] = field(default_factory=lambda: {"mlflow": 2_000})
    longest_of: dict[str, int] = field(default_factory=lambda: {"mlflow": 10_000})


FULL = Plan()
QUICK = Plan(
    import_rounds=2,
    init_rounds=2,
    log_rounds=1,
    log_calls=2_000,
    paced_seconds=1.0,
    kill_rounds=1,
    kill_cases=((200, 100.0), (10, 5.0)),
    resume_rounds=2,
    lengths=(1_000, 10_000),
    file_rounds=2,
    file_sizes=(32 * MIB,),
    serve_rounds=1,
    serve_clients=(1, 8),
    serve_posts=160,
    serve_runs=(10, 100),
    serve_lengths=(1_000, 10_000),
    serve_queries=50,
    serve_file=32 * MIB,
    lab_runs=(10, 100),
    lab_lengths=(1_000, 10_000),
    lab_asks=50,
    panel_loads=2,
    frame_rounds=1,
    frame_seconds=2.0,
    online_paced_seconds=4.0,
    ready_rounds=1,
    traffic_warm=17.0,
    traffic_seconds=30.0,
    log_calls_of={"mlflow": 200},
    longest_of={"mlflow": 1_000},
)
