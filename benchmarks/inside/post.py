"""Clients that post rows, a thread and a connection each: ready, go, done."""

from __future__ import annotations

import json
import sys
import threading
from http.client import HTTPConnection

from . import arguments, reply

_HEADERS = {"Authorization": f"Bearer {'0' * 40}", "Content-Type": "application/json"}


def bodies(posts: int, rows: int) -> list[bytes]:
    made = []
    for first in range(0, posts * rows, rows):
        content = [
            json.dumps({"_step": n, "_runtime": n / 10, "_timestamp": 1.7e9 + n / 10, "loss": 1 / (n + 1), "lr": 0.1})
            for n in range(first, first + rows)
        ]
        made.append(json.dumps({"files": {"wandb-history.jsonl": {"offset": first, "content": content}}}).encode())
    return made


def work(port: int, run: str, made: list[bytes]) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=300)
    for body in made:
        connection.request("POST", f"/files/local/p/{run}/file_stream", body, _HEADERS)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"a post was answered {answer.status}")
    connection.close()


asked = arguments()
made = bodies(asked["posts"], asked["rows"])
threads = [threading.Thread(target=work, args=(asked["port"], run, made)) for run in asked["runs"]]
reply(ready=True)
sys.stdin.readline()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
reply(done=True)
