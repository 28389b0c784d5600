"""The public API of any W&B SDK from 0.8.36 on, looking at runs from outside: JSON on its command line, one line of JSON out.

{"path": "me/demo/run-1", "file": "ckpt.txt", "pattern": "%.txt",              a run, a file of it, files by pattern
 "update": {"tags": ["a"], "notes": "n"}, "config": {"lr": 1}, "upload": path,  changes to it, made first
 "stop": true, "console": true, "delete": true,                                 instead of looking at it
 "lists": [{"project": "me/demo", "filters": {}, "order": "-created_at"}],      runs of projects
 "projects": "me"}                                                              projects of an entity
"""  # noqa: E501

import hashlib
import json
import os
import sys
import tempfile

import wandb

SDK = tuple(int(part) for part in wandb.__version__.split(".")[:2])


def tell(event, **values):
    """One line to the test that started this script."""
    print("@" + json.dumps(dict(values, event=event), default=str))


def described(run):
    """What one run answers, without its history."""
    return {
        "id": run.id,
        "name": run.name,
        "state": run.state,
        "config": dict(run.config),
        "summary": {key: run.summary[key] for key in run.summary.keys() if not key.startswith("_")},  # noqa: SIM118
        "tags": list(run.tags),
        "notes": getattr(run, "notes", None),
        "url": run.url,
    }


def downloaded(file, **options):
    """The bytes of a file of a run, as latin-1 text; of a large one the MD5."""
    with tempfile.TemporaryDirectory() as folder:
        file.download(root=folder, **options).close()
        with open(os.path.join(folder, file.name), "rb") as handle:
            content = handle.read()
    return content.decode("latin-1") if len(content) < 10000 else hashlib.md5(content).hexdigest()


def looked_at(run, plan):
    """Everything that the public API says about one run."""
    seen = described(run)
    seen["history"] = run.history(pandas=False)
    seen["history_of_loss"] = run.history(keys=["loss"], pandas=False)
    seen["two_samples"] = len(run.history(samples=2, pandas=False))
    seen["scan"] = list(run.scan_history())
    seen["scan_of_loss"] = list(run.scan_history(keys=["loss"]))
    seen["scan_in_pages"] = [row["_step"] for row in run.scan_history(page_size=2)]
    files = run.files()
    seen["file_count"] = len(files)
    seen["files"] = {file.name: [file.size, getattr(file, "md5", None)] for file in files}
    if SDK > (0, 9):
        seen["files_by_page"] = sorted(file.name for file in run.files(per_page=2))
    if "file" in plan:
        seen["file"] = downloaded(run.file(plan["file"]))
    if "pattern" in plan:
        seen["matching"] = sorted(file.name for file in run.files(pattern=plan["pattern"]))
    return seen


def main(plan):
    """Look at a run, at a project, and change what is to be changed."""
    api, seen = wandb.Api(), {}
    if "path" in plan:
        try:
            run = api.run(plan["path"])
        except Exception as error:
            tell("error", type=type(error).__name__, message=str(error))
            return 3
        for name, value in plan.get("update", {}).items():
            setattr(run, name, value)
        if "config" in plan:
            run.config.update(plan["config"])
        if "update" in plan or "config" in plan:
            run.update()
        if "upload" in plan:
            run.upload_file(plan["upload"], root=os.path.dirname(plan["upload"]))
        if {"update", "config", "upload"} & set(plan):
            run = wandb.Api().run(plan["path"])
        if plan.get("stop"):
            run.stop()
        if "console" in plan:
            seen["console"] = [line.content for line in run.console_logs()]
        if plan.get("delete"):
            run.delete()
        elif not {"stop", "console"} & set(plan):
            seen["run"] = looked_at(run, plan)
    for asked in plan.get("lists", []):
        found = api.runs(asked.pop("project"), per_page=2, **asked)
        runs = list(found)
        assert len(found) == len(runs)
        seen.setdefault("lists", []).append([described(run) for run in runs])
    if plan.get("projects"):
        seen["projects"] = sorted(project.name for project in api.projects(plan["projects"]))
    tell("seen", **seen)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
