"""``jupyter resume ...``: the command line, a thin face over the core."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from . import _active, listing, lookup, render, sending, settings
from .errors import InvalidPolicy, ResumeError
from .identity import DEFAULT_ENTITY, RunPath
from .policy import Policy, read_policy
from .store.home import Store

_THERE = "on the server that is configured"
_PATH_HELP = "entity/project/run_id, project/run_id or run_id"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; its exit status. An error is one line on stderr, and status 1."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["demo"]:  # it brings its own options, and frameworks that the other commands do without
        from . import demo

        return _told(lambda: demo.main(words[1:]))
    asked = _parser().parse_args(words or ["--help"])
    return _told(lambda: int(asked.command(asked)))


def _told(command: Callable[[], int]) -> int:
    try:
        status = command()
        sys.stdout.flush()
        return status
    except ResumeError as error:
        said = str(error).replace("replace=True", "--replace").replace("root= of", "--root for")
        print(f"jupyter resume: {said}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `... | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _run(asked: argparse.Namespace) -> int:
    """Run a program under a resume policy: its init() reads the environment that this sets."""
    program = asked.program[1:] if asked.program[:1] == ["--"] else asked.program
    if not program:
        raise InvalidPolicy("No program was given: write jupyter resume run --resume=allow --id ID -- python train.py.")
    run_id = asked.id or os.environ.get("WANDB_RUN_ID") or None
    if asked.resume not in (Policy.NEVER.value, Policy.ALLOW.value, Policy.MUST.value):
        raise InvalidPolicy(
            f"--resume={asked.resume} is not available on the command line: use never, allow or must "
            "(init(resume=True) in the program continues what it did not finish)."
        )
    if run_id is None and asked.resume != Policy.NEVER.value:
        raise InvalidPolicy(f"--resume={asked.resume} needs to know which run: pass --id ID or set WANDB_RUN_ID.")
    policy = read_policy(asked.resume, run_id)
    environment = os.environ | {"WANDB_RESUME": policy.policy.value}
    if run_id is not None:
        environment["WANDB_RUN_ID"] = run_id  # as it was given: the program cleans it, or finds the server's run by it
    try:
        if os.name == "posix":
            sys.stdout.flush()
            os.execvpe(program[0], program, environment)
        return subprocess.call(program, env=environment)
    except OSError as error:
        raise ResumeError(f"{program[0]} cannot be started ({error.strerror}): check the program's name.") from error


def _runs(asked: argparse.Namespace) -> int:
    if asked.remote:
        print(lookup.runs_there(settings.resolve({"entity": asked.entity, "project": asked.project}), asked.most))
        return 0
    store = Store()
    if asked.rebuild:
        print(f"the catalog is made anew from the records: {store.catalog.rebuild()} runs")
    print(listing.runs(store, asked.entity, asked.project))
    return 0


def _status(asked: argparse.Namespace) -> int:
    print(render.text(lookup.status(asked.run_path, settings.resolve({}), asked.remote)))
    return 0


def _files(asked: argparse.Namespace) -> int:
    print(lookup.files(asked.run_path, settings.resolve({}), asked.remote))
    return 0


def _restore(asked: argparse.Namespace) -> int:
    print(_active.bring_back(asked.name, asked.run_path, asked.replace, Path(asked.root)))
    return 0


def _serve(asked: argparse.Namespace) -> int:
    try:
        from .server import serving
    except ImportError as error:
        raise ResumeError(
            f"The server needs {error.name}, which is not installed: pip install 'jupyter-resume[server]'."
        ) from error
    if asked.list_keys or (asked.make_key, asked.revoke_key) != (None, None):
        return serving.manage_keys(asked)
    return serving.serve(asked)


def _sync(asked: argparse.Namespace) -> int:
    runs = [_path(text) for text in asked.run_path]
    sent = False
    for line in sending.send(Store(), runs, asked.base_url, asked.if_diverged):
        sent = True
        print(line, flush=True)
    if not sent:
        print("nothing waits to be sent")
    return 0


def _login(asked: argparse.Namespace) -> int:
    """The key comes from a prompt or from stdin: on the command line every user of the machine would see it."""
    from ._login import login, prompt

    ask = prompt()
    if ask is None and not (given := sys.stdin.readline().strip() if sys.stdin else ""):
        print(login(host=asked.host))  # nothing was piped in: the key that is configured is checked
    else:
        print(login(given if ask is None else None, asked.host, renew=True))
    return 0


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _path(text: str) -> RunPath:
    defaults = settings.resolve({})
    return RunPath.parse(text, defaults.entity, defaults.project)


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(prog="jupyter resume", description="Training runs that survive their notebook.")
    parser.add_argument("--version", action="version", version=f"jupyter-resume {version('jupyter-resume')}")
    commands = parser.add_subparsers(required=True, metavar="command")

    commands.add_parser("demo", help="train in a notebook, kill its kernel, and see the run continued")

    run = commands.add_parser(
        "run", help="run a program under a resume policy", usage="%(prog)s [options] -- program ..."
    )
    run.add_argument("--resume", default="never", metavar="POLICY", help="never (default), allow or must")
    run.add_argument("--id", help="the run id; default: WANDB_RUN_ID")
    run.add_argument("program", nargs=argparse.REMAINDER, help="the program and its arguments")
    run.set_defaults(command=_run)

    runs = commands.add_parser("runs", help="list this machine's runs, newest first")
    runs.add_argument("--project", help="only this project's")
    runs.add_argument("--entity", help="only this entity's")
    runs.add_argument("--remote", action="store_true", help=f"list the newest runs of the project {_THERE}")
    runs.add_argument("--most", type=_count, default=50, metavar="N", help="how many with --remote; default: 50")
    runs.add_argument("--rebuild", action="store_true", help="make the catalog anew from the runs' records first")
    runs.set_defaults(command=_runs)

    status = commands.add_parser("status", help="how a run stands: state, step, last metrics, files")
    status.add_argument("run_path", help=_PATH_HELP)
    status.add_argument("--remote", action="store_true", help=f"ask for the run {_THERE}, even if it is here")
    status.set_defaults(command=_status)

    files = commands.add_parser("files", help="list the files that a run has saved")
    files.add_argument("run_path", help=_PATH_HELP)
    files.add_argument("--remote", action="store_true", help=f"ask for the run {_THERE}, even if it is here")
    files.set_defaults(command=_files)

    restore = commands.add_parser("restore", help="bring a run's file back, verified")
    restore.add_argument("name", help="the file's name in the run")
    restore.add_argument("run_path", help=_PATH_HELP)
    restore.add_argument("--replace", action="store_true", help="replace another file of that name")
    restore.add_argument("--root", default=".", help="the folder to put it in; default: the working directory")
    restore.set_defaults(command=_restore)

    sync = commands.add_parser("sync", help="send runs to their server: exactly what it lacks")
    sync.add_argument("run_path", nargs="*", help=f"{_PATH_HELP}; default: all that wait")
    sync.add_argument("--base-url", metavar="URL", help="the server's address; default: WANDB_BASE_URL")
    sync.add_argument("--if-diverged", choices=("append",), help="append: rows that wait here go behind the server's")
    sync.set_defaults(command=_sync)

    login = commands.add_parser("login", help="check an API key, from a prompt or from stdin, and keep it in netrc")
    login.add_argument("--host", metavar="URL", help="the server's address; default: WANDB_BASE_URL")
    login.set_defaults(command=_login)

    serve = commands.add_parser("serve", help="serve this store to W&B clients of other machines")
    serve.add_argument("--host", default="127.0.0.1", help="the address to listen on; default: 127.0.0.1")
    serve.add_argument("--port", type=int, default=8642, help="the port; default: 8642, 0 for any that is free")
    serve.add_argument("--home", help="the store's folder; default: JUPYTER_RESUME_HOME")
    serve.add_argument("--url", help="the address that clients use, if it is another (behind a proxy)")
    serve.add_argument("--tls-cert", metavar="FILE", help="serve over TLS with this certificate chain")
    serve.add_argument("--tls-key", metavar="FILE", help="the certificate's private key")
    serve.add_argument("--rate", type=float, default=500.0, help="requests a second that one key may send")
    serve.add_argument("--quiet", action="store_true", help="no log line for each request")
    serve.add_argument("--make-key", metavar="NAME", help="make an API key, show it once, and leave")
    serve.add_argument("--role", choices=("read", "write"), default="write", help="what the new key is for")
    serve.add_argument("--entity", default=DEFAULT_ENTITY, help="the entity that the new key is for; '*' for all")
    serve.add_argument("--list-keys", action="store_true", help="list the keys and leave")
    serve.add_argument("--revoke-key", metavar="NAME", help="make a key invalid and leave")
    serve.set_defaults(command=_serve)
    return parser
