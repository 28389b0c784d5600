"""A server of ours in a process of its own, and a small client of W&B's protocol to speak to it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests

KEY = "0123456789abcdef0123456789abcdef01234567"

RESUME = """query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) { id name entity { id name }
    bucket(name: $name, missingOk: true) { id name summaryMetrics displayName logLineCount historyLineCount
      eventsLineCount historyTail eventsTail config tags notes wandbConfig(keys: ["t"]) } } }"""
UPSERT = """mutation UpsertBucket($input: UpsertBucketInput!) { upsertBucket(input: $input) { inserted bucket {
  id name displayName description config sweepName historyLineCount fencingToken
  project { id name entity { id name } } } } }"""
FILES = """query RunFiles($project: String!, $name: String!, $names: [String] = [], $after: String, $first: Int,
  $pattern: String) { project(name: $project) { run(name: $name) { fileCount
    files(names: $names, after: $after, first: $first, pattern: $pattern) { edges { cursor node { id name url directUrl
      sizeBytes mimetype updatedAt md5 } } pageInfo { endCursor hasNextPage } } } } }"""
CREATE = """mutation CreateRunFiles($project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {projectName: $project, runName: $run, files: $files}) { runID uploadHeaders
    files { name uploadUrl } } }"""


class Client:
    """Speaks to a server as an SDK does."""

    def __init__(self, url: str, key: str | None = KEY, project: str = "demo", entity: str = "local") -> None:
        self.url, self.project, self.entity = url, project, entity
        self.session = requests.Session()
        self.session.trust_env = False
        if key is not None:
            self.session.auth = ("api", key)

    def post(self, path: str, **how: Any) -> requests.Response:
        return self.session.post(self.url + path, timeout=30, **how)

    def get(self, path: str, **how: Any) -> requests.Response:
        return self.session.get(path if path.startswith("http") else self.url + path, timeout=30, **how)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The whole answer to a query."""
        answer = self.post("/graphql", json={"query": query, "variables": variables})
        said: dict[str, Any] = answer.json()
        said["status"] = answer.status_code
        return said

    def query(self, query: str, **variables: Any) -> Any:
        """The data of the answer to a query that must work."""
        said = self.ask(query, **variables)
        assert "errors" not in said, said
        return said["data"]

    def upsert(self, run: str, **more: Any) -> dict[str, Any]:
        for name in ("config", "summaryMetrics"):
            if isinstance(more.get(name), dict):
                more[name] = json.dumps(more[name])
        found = self.query(UPSERT, input={"name": run, "modelName": self.project, **more})
        payload: dict[str, Any] = found["upsertBucket"]
        return payload

    def resume(self, run: str) -> dict[str, Any] | None:
        """What the resume query says of a run, its JSON texts read."""
        model = self.query(RESUME, project=self.project, entity=self.entity, name=run)["model"]
        bucket: dict[str, Any] | None = model and model["bucket"]
        if bucket is not None:
            for name in ("summaryMetrics", "config", "wandbConfig"):
                bucket[name] = json.loads(bucket[name])
            for name in ("historyTail", "eventsTail"):
                bucket[name] = [json.loads(text) for text in json.loads(bucket[name])]
        return bucket

    def run(self, run: str, fields: str) -> dict[str, Any]:
        """Fields of a run."""
        query = (
            "query Run($project: String!, $name: String!) { project(name: $project) { run(name: $name) { "
            f"{fields} }} }} }}"
        )
        found: dict[str, Any] = self.query(query, project=self.project, name=run)["project"]["run"]
        return found

    def history(self, run: str) -> list[dict[str, Any]]:
        return [json.loads(text) for text in self.run(run, "history(samples: 1000000)")["history"]]

    def stream(self, run: str, body: object = None, **how: Any) -> requests.Response:
        """A post to file_stream."""
        return self.post(
            f"/files/{self.entity}/{self.project}/{run}/file_stream", json={} if body is None else body, **how
        )

    def rows(self, run: str, offset: int, rows: list[dict[str, Any]], **how: Any) -> requests.Response:
        content = [json.dumps(row) for row in rows]
        return self.stream(run, {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}}, **how)

    def upload_url(self, run: str, name: str) -> str:
        made = self.query(CREATE, project=self.project, run=run, files=[name])["createRunFiles"]
        url: str = made["files"][0]["uploadUrl"]
        return url

    def upload(self, run: str, name: str, data: bytes) -> requests.Response:
        """Without a key, as SDKs do."""
        with requests.Session() as bare:
            bare.trust_env = False
            return bare.put(self.upload_url(run, name), data=data, timeout=30)

    def files(self, run: str, **asked: Any) -> list[dict[str, Any]]:
        found = self.query(FILES, project=self.project, name=run, **asked)["project"]["run"]["files"]["edges"]
        return [edge["node"] for edge in found]

    def download(self, run: str, name: str, **how: Any) -> requests.Response:
        return self.get(f"/files/{self.entity}/{self.project}/{run}/{name}", **how)


class Served:
    """A server's process."""

    def __init__(self, home: Path, *options: str) -> None:
        self.home = home
        self.options = options
        self.start()

    def start(self) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "JUPYTER_RESUME_"))}
        command = [
            sys.executable,
            "-m",
            "jupyter_resume",
            "serve",
            "--port",
            "0",
            "--home",
            str(self.home),
            *self.options,
        ]
        self.log = (self.home.parent / f"{self.home.name}.log").open("a+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment, cwd=self.home.parent
        )
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        found = re.search(r"https?://\S+", self.said)
        assert found, f"{self.said}{self.stderr}"
        self.url = found[0]

    @property
    def stderr(self) -> str:
        return Path(self.log.name).read_text()

    def client(self, **how: Any) -> Client:
        return Client(self.url, **how)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        self.process.send_signal(sig)
        try:
            return self.process.wait(20)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            if self.process.stdout:
                self.process.stdout.close()
            self.log.close()


@contextlib.contextmanager
def served(home: Path, *options: str) -> Iterator[Served]:
    """A server for a while."""
    home.mkdir(parents=True, exist_ok=True)
    server = Served(home, *options)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()
