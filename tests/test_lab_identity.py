"""A real JupyterLab server: which run a notebook continues after restarts, kills, renames and copies."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from jupyter_resume.identity import RunPath
from jupyter_resume.store.home import Store
from jupyter_resume.store.record import ResumePoint

from .lab import Execution, JupyterServer, Result, Session

BEGIN = """
%load_ext jupyter_resume
run = %wb_init --project {project} --resume allow
print("run", run.id, "step", run.step, "resumed", run.resumed)
"""
LOG_THREE = "for _ in range(3):\n    run.log({'n': run.step})\nprint('next', run.step)"
TRAIN = """
import time
print("training")
while True:
    run.log({"n": run.step})
    time.sleep(0.001)
"""


@dataclass(frozen=True)
class Said:
    """What the first cell said of its run."""

    id: str
    step: int
    resumed: bool

    @classmethod
    def by(cls, result: Result) -> Said:
        found = re.search(r"^run (\S+) step (\d+) resumed (True|False)$", result.check().stdout, re.MULTILINE)
        assert found, result.text
        return cls(found[1], int(found[2]), found[3] == "True")


class Folder:
    """A folder of the server, and a project, that one test has for itself."""

    def __init__(self, server: JupyterServer, store: Store, name: str) -> None:
        self.server, self.store, self.name = server, store, name

    def path(self, notebook: str) -> str:
        return f"{self.name}/{notebook}"

    def create(self, notebook: str = "train.ipynb") -> str:
        """A notebook of two cells: one begins or continues its run, one logs three rows."""
        path = self.path(notebook)
        self.server.create_notebook(path, [BEGIN.format(project=self.name), LOG_THREE])
        return path

    def point(self, run_id: str) -> ResumePoint:
        """How the run stands, by its record."""
        tail = self.store.record(RunPath("local", self.name, run_id)).tail()
        assert tail is not None
        return tail.point

    def state(self, run_id: str) -> str:
        record = self.store.record(RunPath("local", self.name, run_id))
        tail = record.tail()
        assert tail is not None
        return record.state(tail)


def run_all(session: Session) -> Said:
    """Run the notebook from top to bottom."""
    results = session.run_all()
    results[-1].check()
    return Said.by(results[0])


def run_first(session: Session) -> Result:
    """Run the notebook's first cell alone, as the page does."""
    cell = session.server.notebook(session.path)["cells"][0]
    return session.execute(cell["source"], cell["id"])


def train(session: Session) -> Execution:
    """Begin to train for as long as the kernel lives; returns once some rows are logged."""
    execution = session.start(TRAIN)
    execution.wait_for("training")
    return execution


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, store_folder: Path) -> Iterator[JupyterServer]:
    with JupyterServer(tmp_path_factory.mktemp("root"), env={"JUPYTER_RESUME_HOME": str(store_folder)}) as server:
        yield server


_numbers = itertools.count(1)


@pytest.fixture
def folder(server: JupyterServer, store_folder: Path) -> Iterator[Folder]:
    yield Folder(server, Store(store_folder), f"test{next(_numbers)}")
    for model in server.request("GET", "/api/sessions").json():
        server.request("DELETE", f"/api/sessions/{model['id']}")


@pytest.fixture
def two_servers(tmp_path: Path, home: Path) -> Iterator[Callable[[], Folder]]:
    """Servers on one folder, the next call killing the one before with its kernels."""
    servers: list[JupyterServer] = []

    def start() -> Folder:
        for server in servers:
            server.kill()
        servers.append(JupyterServer(tmp_path / "root", env={"JUPYTER_RESUME_HOME": str(home)}).start())
        return Folder(servers[-1], Store(home), "again")

    yield start
    for server in servers:
        server.kill()


def test_two_notebooks_in_one_folder_are_two_runs(folder: Folder) -> None:
    one, two = (folder.server.open(folder.create(name)) for name in ("one.ipynb", "two.ipynb"))
    first, second = run_all(one), run_all(two)
    assert first.id != second.id
    one.restart()
    two.restart()
    assert run_all(two) == Said(second.id, 3, True)
    assert run_all(one) == Said(first.id, 3, True)


def test_a_kernel_restart_keeps_the_run_which_was_interrupted_until_then(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    session.restart()
    assert folder.state(run_id) == "interrupted"
    assert run_all(session) == Said(run_id, 3, True)
    assert folder.state(run_id) == "running"


def test_a_kernel_shut_down_leaves_its_run_to_be_resumed(folder: Folder) -> None:
    path = folder.create()
    session = folder.server.open(path)
    run_id = run_all(session).id
    session.shutdown()
    assert folder.state(run_id) == "interrupted"
    assert run_all(folder.server.open(path)) == Said(run_id, 3, True)


def test_a_finished_run_is_not_resumed(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    session.execute("%wb_finish").check()
    assert folder.state(run_id) == "finished"
    in_place = run_all(session)
    assert in_place.id != run_id
    assert not in_place.resumed
    session.execute("run.finish()").check()
    session.restart()
    after_restart = run_all(session)
    assert after_restart.id not in (run_id, in_place.id)


def test_a_kernel_killed_in_mid_training_goes_on_at_the_next_step(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    train(session)
    session.kill_and_wait_for_autorestart()
    assert folder.state(run_id) == "crashed"
    logged = folder.point(run_id).next_step
    assert logged > 3
    assert run_all(session) == Said(run_id, logged, True)
    assert folder.point(run_id).next_step == logged + 3


def test_a_rename_then_a_restart_keeps_the_run(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    folder.server.rename(session.path, folder.path("deeper/renamed.ipynb"))
    session.restart()
    assert run_all(session) == Said(run_id, 3, True)
    assert folder.point(run_id).origin["path"].endswith("/deeper/renamed.ipynb")


def test_a_rename_then_a_kill_keeps_the_run(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    train(session)
    folder.server.rename(session.path, folder.path("renamed.ipynb"))
    session.kill_and_wait_for_autorestart()
    again = run_all(session)
    assert (again.id, again.resumed) == (run_id, True)


def test_a_rename_then_a_new_server_keeps_the_run(two_servers: Callable[[], Folder]) -> None:
    """Nothing is left of the kernel's id: the notebook is known by its cells, and by what its old path lacks."""
    before = two_servers()
    session = before.server.open(before.create())
    run_id = run_all(session).id
    train(session)
    before.server.rename(session.path, before.path("renamed.ipynb"))
    after = two_servers()
    again = run_all(after.server.open(after.path("renamed.ipynb")))
    assert (again.id, again.resumed) == (run_id, True)


def test_a_rename_then_another_notebook_at_the_old_path_then_a_new_server(
    two_servers: Callable[[], Folder],
) -> None:
    before = two_servers()
    session = before.server.open(before.create())
    run_id = run_all(session).id
    before.server.rename(session.path, before.path("renamed.ipynb"))
    after = two_servers()
    other = run_all(after.server.open(after.create("train.ipynb")))
    assert (other.id != run_id, other.resumed) == (True, False)
    assert run_all(after.server.open(after.path("renamed.ipynb"))) == Said(run_id, 3, True)


def test_a_copy_gets_a_run_of_its_own(folder: Folder) -> None:
    original = folder.server.open(folder.create())
    run_id = run_all(original).id
    copy = folder.server.open(folder.server.copy(original.path))
    of_the_copy = run_all(copy)
    assert (of_the_copy.id != run_id, of_the_copy.resumed) == (True, False)
    for session, kept in ((copy, of_the_copy.id), (original, run_id)):
        session.restart()
        assert run_all(session) == Said(kept, 3, True)


def test_a_copy_made_while_the_original_trains_disturbs_it_not(folder: Folder) -> None:
    original = folder.server.open(folder.create())
    run_id = run_all(original).id
    training = train(original)
    of_the_copy = run_all(folder.server.open(folder.server.copy(original.path)))
    assert (of_the_copy.id != run_id, of_the_copy.step) == (True, 0)
    assert not training.done
    assert folder.state(run_id) == "running"


def test_a_second_kernel_of_one_notebook_is_refused_in_one_line(folder: Folder, store_folder: Path) -> None:
    path = folder.create()
    first = folder.server.open(path)
    run_id = run_all(first).id
    with JupyterServer(folder.server.root, env={"JUPYTER_RESUME_HOME": str(store_folder)}) as elsewhere:
        second = elsewhere.open(path)
        refused = run_first(second)
        assert refused.status == "error"
        assert refused.error is not None
        name, message, lines = refused.error
        assert name == "RunInUse"
        assert lines == [f"RunInUse: {message}"]
        assert "\n" not in message
        for part in (
            run_id,
            "notebook train.ipynb",
            f"pid {first.kernel_pid()}",
            os.uname().nodename,
            "last step 2",
            "--takeover",
        ):
            assert part in message
        taken = second.execute(BEGIN.replace("allow", "allow --takeover").format(project=folder.name))
        assert Said.by(taken) == Said(run_id, 3, True)


def test_the_first_cell_run_again_in_a_living_kernel_goes_on_in_place(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    again = run_first(session).check()
    assert Said.by(again) == Said(run_id, 3, False)
    assert folder.point(run_id).sessions == 1
    session.execute("run.log({'n': 3})").check()
    session.wait_until(lambda: "step 4" in again.text, 10, "the live view, which moved to the cell that ran last")


def test_several_runs_one_after_another_in_one_kernel(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    ids = []
    for _ in range(3):
        ids.append(run_all(session).id)
        session.execute("%wb_finish").check()
    assert len(set(ids)) == 3
    assert [folder.point(run_id).rows for run_id in ids] == [3, 3, 3]


def test_two_runs_at_once_by_their_own_handles(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    code = f"""
import jupyter_resume as wandb
a = wandb.init(project="{folder.name}", id="a")
b = wandb.init(project="{folder.name}", id="b")
for n in range(5):
    a.log({{"n": n}})
    if n % 2: b.log({{"n": n}})
assert wandb.run is b
b.finish()
assert wandb.run is a
wandb.log({{"n": 5}})
a.finish()
assert wandb.run is None
"""
    session.execute(code).check()
    assert [(folder.point(name).rows, folder.state(name)) for name in "ab"] == [(6, "finished"), (2, "finished")]


def test_a_file_renamed_while_its_kernel_lives_is_found_at_its_new_path(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_all(session)
    session.execute("%wb_finish").check()
    folder.server.rename(session.path, folder.path("renamed.ipynb"))
    second = run_all(session)
    assert folder.point(second.id).origin["path"].endswith("/renamed.ipynb")


def test_a_new_notebook_at_the_old_path_of_a_renamed_one_gets_a_run_of_its_own(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    first = run_all(session)
    folder.server.rename(session.path, folder.path("renamed.ipynb"))
    newcomer = folder.server.open(folder.create())
    of_the_newcomer = run_all(newcomer)
    assert (of_the_newcomer.id != first.id, of_the_newcomer.resumed) == (True, False)
    for one, kept in ((session, first.id), (newcomer, of_the_newcomer.id)):
        one.restart()
        assert run_all(one) == Said(kept, 3, True)


@pytest.mark.parametrize("own", [None, "the-first"])
def test_a_notebook_made_anew_at_the_path_of_a_deleted_one_is_another_to_kernel_and_sidebar(
    folder: Folder, own: str | None
) -> None:
    """JupyterLab makes the file without cells; what is run is saved later."""

    def shown(*cells: str) -> str | None:
        asked = f"/jupyter-resume/api/v1/notebook?path={path}&cells={','.join(cells)}"
        run = folder.server.request("GET", asked).json()["run"]
        return run and str(run["id"])

    path, cell = folder.create(), f"not-saved-{folder.name}"
    if own:
        give_id(folder, path, own)
    session = folder.server.open(path)
    first = run_all(session).id
    assert shown() == first
    session.shutdown()
    folder.server.delete(path)
    folder.server.create_notebook(path, [])
    assert shown() is None
    assert shown(cell) is None
    session = folder.server.open(path)
    begun = Said.by(session.execute(BEGIN.format(project=folder.name), cell_id=cell))
    assert (begun.id != first, begun.step) == (True, 0)
    assert shown(cell) == begun.id
    session.kill_and_wait_for_autorestart()
    again = Said.by(session.execute(BEGIN.format(project=folder.name), cell_id=cell))
    assert again.id == begun.id


def test_a_renamed_notebook_is_not_taken_for_the_new_one_at_its_old_path(folder: Folder) -> None:
    """Its kernel still has the old path in its environment, and there is a notebook there."""
    session = folder.server.open(folder.create())
    run_all(session)
    session.execute("%wb_finish").check()
    folder.server.rename(session.path, folder.path("renamed.ipynb"))
    newcomer = folder.server.open(folder.create())
    second = run_all(session)
    assert folder.point(second.id).origin["path"].endswith("/renamed.ipynb")
    assert run_all(newcomer).id != second.id


def test_a_notebook_that_is_not_saved_yet_keeps_its_run(folder: Folder) -> None:
    """The page runs cells that the file does not have before the first save."""
    path = folder.path("Untitled.ipynb")
    folder.server.create_notebook(path, [""])
    session = folder.server.open(path)
    first = Said.by(session.execute(BEGIN.format(project=folder.name), cell_id="not-saved"))
    session.execute(LOG_THREE).check()
    session.kill_and_wait_for_autorestart()
    again = session.execute(BEGIN.format(project=folder.name), cell_id="not-saved")
    assert Said.by(again) == Said(first.id, 3, True)


def test_must_without_an_unfinished_run_is_refused_in_one_line(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    refused = session.execute(BEGIN.replace("allow", "must").format(project=folder.name))
    assert refused.error is not None
    assert refused.error[2] == [
        "RunMissing: resume is 'must' and this notebook has no unfinished run: "
        "pass id=, or resume='allow' to start one."
    ]


def test_without_load_ext_the_notebook_is_found_too(folder: Folder) -> None:
    path = folder.path("plain.ipynb")
    begin = (
        f"import jupyter_resume as wandb\nrun = wandb.init(project='{folder.name}', resume=True)\n"
        'print("run", run.id, "step", run.step, "resumed", run.resumed)'
    )
    folder.server.create_notebook(path, [begin, LOG_THREE])
    session = folder.server.open(path)
    run_id = run_all(session).id
    assert folder.point(run_id).origin["path"].endswith("/plain.ipynb")
    session.kill_and_wait_for_autorestart()
    assert run_all(session) == Said(run_id, 3, True)


# Notebooks that have an id in their metadata, which the sidebar writes


def give_id(folder: Folder, path: str, notebook_id: object) -> None:
    """Save the notebook with this as its id."""
    content = folder.server.notebook(path)
    content["metadata"]["jupyter_resume"] = {"notebook_id": notebook_id}
    folder.server.save(path, content)


def renew_cells(folder: Folder, path: str) -> None:
    """Save the notebook with other cell ids, as some tools do."""
    content = folder.server.notebook(path)
    for number, cell in enumerate(content["cells"]):
        cell["id"] = f"renewed-{number}"
    folder.server.save(path, content)


def test_a_notebook_with_an_id_is_found_wherever_it_goes_and_whatever_its_cells_are(
    two_servers: Callable[[], Folder],
) -> None:
    before = two_servers()
    path = before.create()
    give_id(before, path, "of-this-notebook")
    run_id = run_all(before.server.open(path)).id
    assert before.point(run_id).origin["notebook_id"] == "of-this-notebook"
    before.server.rename(path, before.path("downloads/train (1).ipynb"))
    after = two_servers()
    renew_cells(after, after.path("downloads/train (1).ipynb"))
    assert run_all(after.server.open(after.path("downloads/train (1).ipynb"))) == Said(run_id, 3, True)


def test_an_id_given_after_the_first_run_keeps_the_run(folder: Folder) -> None:
    session = folder.server.open(folder.create())
    run_id = run_all(session).id
    give_id(folder, session.path, "given-later")
    session.restart()
    assert run_all(session) == Said(run_id, 3, True)
    assert folder.point(run_id).origin["notebook_id"] == "given-later"


def test_a_copy_with_its_originals_id_gets_a_run_and_an_id_of_its_own(folder: Folder) -> None:
    path = folder.create()
    give_id(folder, path, "original")
    original = folder.server.open(path)
    run_id = run_all(original).id
    copy = folder.server.open(folder.server.copy(path))
    of_the_copy = run_all(copy)
    assert (of_the_copy.id != run_id, of_the_copy.resumed) == (True, False)
    assert folder.point(run_id).origin["notebook_id"] == "original"
    assert folder.point(of_the_copy.id).origin["notebook_id"] not in (None, "original")
    for session, kept in ((copy, of_the_copy.id), (original, run_id)):
        session.restart()
        assert run_all(session) == Said(kept, 3, True)


def test_a_copy_of_a_renamed_notebook_does_not_take_its_run(two_servers: Callable[[], Folder]) -> None:
    before = two_servers()
    path, renamed = before.create(), before.path("renamed.ipynb")
    give_id(before, path, "original")
    run_id = run_all(before.server.open(path)).id
    before.server.rename(path, renamed)
    before.server.request("PUT", "/jupyter-resume/api/v1/notebook", {"path": renamed, "notebook_id": "original"})
    copied = before.server.copy(renamed)
    after = two_servers()
    of_the_copy = run_all(after.server.open(copied))
    assert (of_the_copy.id != run_id, of_the_copy.resumed) == (True, False)
    assert run_all(after.server.open(renamed)) == Said(run_id, 3, True)


@pytest.mark.parametrize("corrupted", [7, {"a": 1}, "", "no id\n", "x" * 65, None])
def test_a_foreign_or_corrupted_id_is_passed_over(folder: Folder, corrupted: object) -> None:
    path = folder.create()
    give_id(folder, path, corrupted)
    session = folder.server.open(path)
    run_id = run_all(session).id
    assert folder.point(run_id).origin["notebook_id"] is None
    session.restart()
    assert run_all(session) == Said(run_id, 3, True)
