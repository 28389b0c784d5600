"""The server is killed in mid-post, again and again: what it acknowledged is there, and nothing is torn."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import requests

from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.transfer import digest_of

from .serving import Client, Served, served

KILLS = 50


class Trainer(threading.Thread):
    """A client that posts rows and files as fast as it can, and remembers what was acknowledged."""

    def __init__(self, server: Served, run: str) -> None:
        super().__init__(daemon=True)
        self.server, self.run_id = server, run
        self.up = threading.Event()
        self.ended = threading.Event()
        self.rows: list[dict[str, Any]] = []
        self.files: dict[str, tuple[bytes | None, ...]] = {}
        self.posts = 0

    def run(self) -> None:
        chosen = random.Random(self.run_id)
        pending: list[dict[str, Any]] = []
        while not self.ended.is_set():
            if not self.up.wait(0.5):
                continue
            client = Client(self.server.url)
            try:
                while self.up.is_set():
                    if not pending:
                        first = len(self.rows)
                        pending = [
                            {"_step": n, "x": chosen.random()} for n in range(first, first + chosen.randint(1, 20))
                        ]
                    if client.rows(self.run_id, len(self.rows), pending).status_code == 200:
                        self.rows += pending
                        pending = []
                        self.posts += 1
                    if chosen.random() < 0.3:
                        self.put(client, f"f{chosen.randint(0, 4)}", chosen.randbytes(chosen.randint(0, 300_000)))
            except requests.RequestException:
                continue
            finally:
                client.session.close()

    def put(self, client: Client, name: str, data: bytes) -> None:
        """What was acknowledged last, and all that may have come after it."""
        self.files[name] = (*self.files.get(name, (None,)), data)
        if client.upload(self.run_id, name, data).status_code == 200:
            self.files[name] = (data,)


def test_nothing_acknowledged_is_lost_when_the_server_is_killed_fifty_times(tmp_path: Path) -> None:
    chosen = random.Random(7)
    with served(tmp_path / "home", "--quiet", "--rate", "100000") as server:
        trainers = [Trainer(server, f"run-{n}") for n in range(3)]
        for trainer in trainers:
            server.client().upsert(trainer.run_id)
            trainer.up.set()
            trainer.start()
        for _ in range(KILLS):
            before = [trainer.posts for trainer in trainers]
            until = time.monotonic() + 20
            while not all(now.posts > then for now, then in zip(trainers, before, strict=True)):
                assert time.monotonic() < until, server.stderr
                time.sleep(0.005)  # a look at what threads count
            time.sleep(chosen.random() * 0.05)  # anywhere in a post
            for trainer in trainers:
                trainer.up.clear()
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server.log.close()
            assert server.process.stdout is not None
            server.process.stdout.close()
            server.start()
            for trainer in trainers:
                trainer.up.set()
        for trainer in trainers:
            trainer.up.clear()
            trainer.ended.set()
            trainer.join(60)
        client = server.client()
        for trainer in trainers:
            kept = [{"_step": row["_step"], "x": row["x"]} for row in client.history(trainer.run_id)]
            assert kept[: len(trainer.rows)] == trainer.rows
            assert client.run(trainer.run_id, "conflictCount outOfOrderCount") == {
                "conflictCount": 0,
                "outOfOrderCount": 0,
            }
            names = {node["name"]: node for node in client.files(trainer.run_id)}
            for name, possible in trainer.files.items():
                content = client.download(trainer.run_id, name).content if name in names else None
                assert content in possible
                assert content is None or names[name]["sizeBytes"] == len(content)
        assert server.stop() == 0
    for trainer in trainers:
        blobs = Store(tmp_path / "home").blobs(RunPath("local", "demo", trainer.run_id)).folder
        for blob in blobs.iterdir() if blobs.exists() else ():
            if not blob.name.startswith("."):
                assert digest_of(blob) == blob.name
