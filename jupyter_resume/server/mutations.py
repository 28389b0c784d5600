"""The mutations of the schema: a run begun or changed, its files announced, and a run rewound, stopped or removed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from ..identity import DEFAULT_PROJECT, RunPath, generate_id
from ..store import lines
from .hosting import ALIVE, Hosted, Seen, state
from .naming import decode_id, path_of, plain_id, run_of_id
from .nodes import Asking, FileNode, ProjectNode, RunNode
from .posts import parse
from .refusals import Refusal, bad, missing
from .streams import difference

_META = {
    "displayName": "name",
    "notes": "notes",
    "tags": "tags",
    "groupName": "group",
    "jobType": "job_type",
    "description": "description",
    "host": "host",
    "commit": "commit",
    "jobProgram": "program",
    "jobRepo": "repo",
    "sweep": "sweep",
}
_STATES = ("pending", "running", "finished", "failed", "crashed", "killed", "preempting", "preempted")


class Mutation:
    """The root of a mutation."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def upsertBucket(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Begin a run, or change one: null leaves a thing as it is."""
        path = self._path_of(input)
        inserted = False

        def act(hosted: Hosted) -> Seen:
            nonlocal inserted
            inserted = not hosted.point.sessions
            return self._upsert(hosted, input)

        seen = self._asking.hosting.change(path, act, make=True)
        return {"bucket": RunNode(self._asking, seen), "inserted": inserted, **_echo(input)}

    def _path_of(self, input: dict[str, Any]) -> RunPath:
        client = self._asking.client
        if input.get("id"):
            path = run_of_id(input["id"])
            if self._asking.hosting.see(path) is None:
                raise missing(path)
        else:
            name = plain_id(input.get("name") or generate_id())
            path = RunPath.of(
                self._asking.entity(input.get("entityName")), input.get("modelName") or DEFAULT_PROJECT, name
            )
            if path.run_id != name:
                raise bad(
                    f"The run id {name!r:.80} has other characters than letters, digits, - and _: choose another."
                )
        client.check_write(path.entity)
        return path

    def _upsert(self, hosted: Hosted, input: dict[str, Any]) -> Seen:
        hosting, point = self._asking.hosting, hosted.point
        now = hosting.clock()
        begins = not point.sessions or bool(input.get("host") or input.get("jobProgram"))  # else it is a change
        meta: dict[str, Any] = {to: input[of] for of, to in _META.items() if input.get(of) is not None}
        meta = {key: value for key, value in meta.items() if point.meta.get(key) != value}
        name = input.get("name") or point.run_id
        if not point.sessions:
            meta["user"] = self._asking.client.name
            if name != point.run_id:
                meta["asked_id"] = name
        elif not input.get("id") and "." in name and name != point.meta.get("asked_id", point.run_id):
            raise bad(f"The id {name!r} would be written {point.run_id!r}, which is another run: choose another id.")
        if begins:
            meta.update({key: None for key in ("stopped", "preempting") if point.meta.get(key)})
        config, wandb = _config(input.get("config"))
        if wandb and (known := {**(point.meta.get("wandb") or {}), **wandb}) != point.meta.get("wandb"):
            meta["wandb"] = known
        changes: list[tuple[str, Any]] = [(lines.META, meta)] if meta else []
        if config := {
            key: value for key, value in config.items() if key not in point.config or point.config[key] != value
        }:
            changes.append((lines.CONFIG, {"set": config}))
        if input.get("summaryMetrics") is not None:
            summary = _object(input["summaryMetrics"], "summaryMetrics")
            if change := difference(point.summary, summary):
                changes.append((lines.SUMMARY, change))
        if (asked := input.get("state")) is not None:
            if asked not in _STATES:
                raise bad(f"The state {asked!r:.40} is not known: use one of {', '.join(_STATES)}.")
            if asked != point.state:
                changes.append(state(asked, None, now))
        elif begins or point.state in ALIVE:
            changes += hosted.alive(now)
        if begins or input.get("fence"):
            changes.append((lines.SESSION, {"at": now, "fence": bool(input.get("fence"))}))
        hosted.commit(changes)
        hosted.dirty = False
        hosting.catalogue(point)
        seen = hosting.see(point.path)
        assert seen is not None
        return seen

    def createRunFiles(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Addresses to put files at."""
        run = self._run(input)
        nodes = [FileNode(run, name, None) for name in input["files"]]
        for node in nodes:
            node.uploadUrl  # noqa: B018 - every name is checked before any is answered
        return {"runID": run.id, "uploadHeaders": [], "files": nodes, **_echo(input)}

    def markRunFilesUploaded(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """What was put is there already."""
        known = self._run(input)._seen.point.files
        return {"success": all(name in known for name in input["files"]), **_echo(input)}

    def deleteFiles(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Take files out of their run."""
        of: dict[RunPath, list[str]] = {}
        for text in input["files"]:
            parts = decode_id(text, "File")
            if parts is None or len(parts) != 4:
                raise bad(f"{text!r:.80} is no id of a file here.")
            of.setdefault(RunPath.of(parts[2], parts[1], parts[0]), []).append(parts[3])
        for path, names in of.items():
            self._asking.client.check_write(path.entity)
            self._asking.hosting.change(path, functools.partial(self._drop, path, names))
        return {"success": True, **_echo(input)}

    def _drop(self, path: RunPath, names: Sequence[str], hosted: Hosted) -> None:
        gone = [hosted.point.files[name].digest for name in names if name in hosted.point.files]
        hosted.commit([(lines.NO_FILE, {"name": name}) for name in names if name in hosted.point.files])
        left = {entry.digest for entry in hosted.point.files.values()}
        for digest in set(gone) - left:
            self._asking.hosting.store.blobs(path).drop(digest)

    def rewindRun(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Let a run go on after an earlier step."""
        if input["metricName"] != "_step":
            raise bad(f"A run is rewound to a _step, not to {input['metricName']!r:.40}.")
        run = self._run(input, must=False)
        if run is None:
            return {"rewoundRun": None, **_echo(input)}
        if input["metricValue"] < 0 or not float(input["metricValue"]).is_integer():
            raise bad("A run is rewound to a whole step from 0 up.")
        seen = self._asking.hosting.rewind(run.path, int(input["metricValue"]))
        return {"rewoundRun": RunNode(self._asking, seen), **_echo(input)}

    def deleteRun(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Take a run out of the store."""
        path = self._named(input["id"])
        self._asking.hosting.remove(path)
        return _echo(input)

    def stopRun(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Ask a run's client to stop; it hears of it with its next post."""
        path = self._named(input["id"])

        def act(hosted: Hosted) -> bool:
            if hosted.point.state in ALIVE and not hosted.point.meta.get("stopped"):
                hosted.commit([(lines.META, {"stopped": True})])
            return True

        return {"success": self._asking.hosting.change(path, act), **_echo(input)}

    def updateRunState(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Say how a run is: ``pending`` or ``failed``."""
        path, asked = self._named(input["id"]), input["state"]
        allowed = {"pending": ("running", "failed", "crashed", "preempted"), "failed": ("pending", "running")}
        now = self._asking.hosting.clock()

        def act(hosted: Hosted) -> bool:
            if hosted.point.state not in allowed.get(asked, ()):
                raise bad(f"A run that is {hosted.point.state} cannot be made {asked!r:.40}.")
            hosted.commit([state(asked, None, now)])
            return True

        return {"success": self._asking.hosting.change(path, act), **_echo(input)}

    def upsertModel(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """A project needs no making: it is there with its first run."""
        entity = self._asking.entity(input.get("entityName"))
        self._asking.client.check_write(entity)
        path = RunPath.of(entity, input.get("name") or DEFAULT_PROJECT, "a")
        project = ProjectNode(self._asking, path.entity, path.project)
        return {"project": project, "model": project, "inserted": False}

    def notifyScriptableRunAlert(self, info: Any, input: dict[str, Any]) -> dict[str, Any]:
        """Nobody is told of alerts here."""
        return {"success": False, **_echo(input)}

    def _named(self, storage_id: str) -> RunPath:
        path = run_of_id(storage_id)
        self._asking.client.check_write(path.entity)
        return path

    def _run(self, input: dict[str, Any], must: bool = True) -> Any:
        entity, project, name = self._asking.entity(input.get("entityName")), input.get("projectName"), input["runName"]
        self._asking.client.check_write(entity)
        path = path_of(entity, project, name)
        seen = self._asking.hosting.see(path) if path else None
        if seen is None:
            if must:
                raise Refusal(404, f"There is no run {entity}/{project}/{name} here: check the entity, project and id.")
            return None
        return RunNode(self._asking, seen)


def _config(text: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values of a config in W&B's form, and what the SDK keeps of itself in it."""
    if text is None:
        return {}, {}
    said = _object(text, "config")
    values = {
        key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for key, entry in said.items()
        if key != "wandb_version"
    }
    wandb = values.pop("_wandb", None)
    return values, wandb if isinstance(wandb, dict) else {}


def _object(text: str, what: str) -> dict[str, Any]:
    value = parse(text.encode("utf-8", "surrogatepass"), what)
    if not isinstance(value, dict):
        raise bad(f"{what} is not a JSON object.")
    return value


def _echo(input: dict[str, Any]) -> dict[str, Any]:
    return {"clientMutationId": input.get("clientMutationId")}
