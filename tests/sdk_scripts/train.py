"""A user's training script, for any W&B SDK from 0.8.36 on. What to do is JSON on its command line, what it saw one line per event.

{"init": {"project": "demo", "id": "r1", "resume": "allow", ...},  what wandb.init() is given
 "restore": ["ckpt.txt"],                                          files to restore, before anything is logged
 "rows": [{"loss": 1.0}, {"loss": 0.5, "step": 7}],                what wandb.log() is given
 "files": {"ckpt.txt": "text"},                                    files to write in the run's folder, and save
 "policy": "now" | "live" | "end", "rewritten": {"ckpt.txt": "later text"},  how they are saved; what they become after that
 "sized": {"big.bin": 3000000},                                    the same, of so many bytes
 "posting": 1,                                                     seconds between two posts, where the SDK lets one choose: whole ones
 "then": "finish" | "return" | "raise" | "wait" | "log until told", "row": {...}}
"""  # noqa: E501

import json
import os
import select
import sys

import wandb

SDK = tuple(int(part) for part in wandb.__version__.split(".")[:2])
REPORT = sys.stdout
"""The console as it was before the SDK put itself in between."""


def tell(event, **values):
    """One line to the test that started this script."""
    REPORT.write("@" + json.dumps(dict(values, event=event), default=str) + "\n")
    REPORT.flush()


def plain(value):
    """A config, a summary or tags of the SDK as plain JSON, without the SDK's own keys."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return {key: plain(value[key]) for key in value.keys() if not key.startswith(("_", "wandb_version"))}  # noqa: SIM118


def settings(plan):
    """Post often, so that a test need not wait for the SDK's own 15 seconds; measure nothing of the machine."""
    if SDK < (0, 30):
        return {}
    quick = {"x_file_stream_transmit_interval": plan.get("posting", 1), "x_disable_stats": True, "init_timeout": 20}
    return {"settings": wandb.Settings(x_disable_meta=True, **quick)}


def ready():
    """0.13.11 at times connects before its own service listens, and then gives up: let it start another."""
    for attempt in range(5):
        try:
            return wandb.setup() if (0, 12) < SDK < (0, 30) else None
        except Exception as error:
            if "service failed" not in str(error) or attempt == 4:
                raise
    return None


def told(seconds):
    """Whether the test has sent a line, or has gone; waits so long for it."""
    return bool(select.select([sys.stdin], [], [], seconds)[0])


def log(row):
    """One row, at its `step` if it has one."""
    row = dict(row)
    if "step" in row:
        wandb.log(row, step=row.pop("step"))
    else:
        wandb.log(row)


def restore(name):
    """Tell what wandb.restore() brings: every byte, as latin-1."""
    try:
        with open(wandb.restore(name).name, "rb") as file:
            tell("restored", name=name, text=file.read().decode("latin-1"))
    except Exception as error:
        tell("missing", name=name, type=type(error).__name__, message=str(error))


def write(run, name, text):
    """Write a file into the run's folder, as a checkpoint is."""
    path = os.path.join(run.dir, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(text.encode("latin-1"))
    return path


def save(run, name, text, policy="now"):
    """Write a file, and have it uploaded."""
    path = write(run, name, text)
    if SDK > (0, 9):
        wandb.save(path, base_path=run.dir, policy=policy)
    else:
        wandb.save(path)


def main(plan):
    """Init, restore, log, save, end."""
    ready()
    try:
        run = wandb.init(**dict(plan["init"], **settings(plan)))
    except Exception as error:
        tell("refused", type=type(error).__name__, message=str(error))
        return 3
    tell(
        "init",
        id=run.id,
        resumed=bool(run.resumed),
        step=run.step,
        starting_step=getattr(run, "starting_step", run.step),
        config=plain(run.config),
        summary=plain(run.summary),
        notes=getattr(run, "notes", None),
        tags=plain(run.tags),
        dir=run.dir,
        url=getattr(run, "url", None),
    )
    for name in plan.get("restore", []):
        restore(name)
    for row in plan.get("rows", []):
        print("loss is", row.get("loss"))
        log(row)
    for name, text in plan.get("files", {}).items():
        save(run, name, text, plan.get("policy", "now"))
    for name, text in plan.get("rewritten", {}).items():
        write(run, name, text)
    for name, size in plan.get("sized", {}).items():
        save(run, name, ("".join(map(chr, range(251))) * (size // 251 + 1))[:size])
    tell("logged", step=run.step)
    then, count = plan.get("then", "finish"), 0
    while then == "wait" and not told(0.1):
        pass
    while then == "log until told" and not told(0.02):
        log(dict(plan.get("row", {}), n=count))
        count += 1
    if then == "raise":
        raise RuntimeError("the training failed")
    if then != "return":
        (wandb.finish if hasattr(wandb, "finish") else wandb.join)()
    tell("finished", count=count)
    return 0


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
