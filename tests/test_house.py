"""The house itself: layers, public names, one version, and what an import costs in modules."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyter_resume
from jupyter_resume import errors

PACKAGE = Path(jupyter_resume.__file__).parent

LAYERS = [
    {"errors", "identity", "notices", "wording", "digests", "times", "paging", "netrc_text"},
    {"keys"},
    {"policy", "settings", "values", "origin", "tables", "curve"},
    {"transfer", "store", "remote"},
    {"_login"},
    {"files", "recorded", "keeper", "console", "machine", "selection", "sampling"},
    {"fetched"},
    {"saving", "sync"},
    {"restoring"},
    {"_described", "_linked", "_run", "_exit", "source"},
    {"_active", "_alone", "_there"},
    {"_init", "exported", "sending"},
    {"view"},
    {"render", "listing"},
    {"seen"},
    {"api"},
    {"lookup"},
    {"notebook", "lab", "cli", "server", "__main__", "demo", "integrations", "keras", "util", "__init__"},
]
FACES = {"notebook", "lab", "server", "integrations", "keras", "demo"}
OF_JUPYTER_AND_FRAMEWORKS = {
    "IPython", "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core", "jupyter_server", "nbclient", "nbformat",
    "keras", "torch", "jax", "numpy", "tensorflow",
}  # fmt: skip


def sources() -> Iterator[tuple[str, ast.Module]]:
    """Every module of ours: its dotted name below the package, and its syntax."""
    for file in sorted(PACKAGE.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        yield name, ast.parse(file.read_text())


def imports(name: str, tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """Top-level names that a module imports, each with whether it is ours; type-checking imports left out."""
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    package = name.split(".")[:-1]
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield str(node.module).split(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] + (node.module.split(".") if node.module else [])
            yield from ((base[0] if base else alias.name, True) for alias in node.names)


def layer_of(module: str) -> int:
    return next(n for n, layer in enumerate(LAYERS) if module.split(".")[0] in layer)


def test_every_module_has_its_layer_and_imports_only_downwards() -> None:
    upwards = [
        f"{name} -> {target}"
        for name, tree in sources()
        for target, ours in imports(name, tree)
        if ours and layer_of(target) > layer_of(name)
    ]
    assert upwards == []


def test_the_core_imports_nothing_of_jupyter_or_a_framework() -> None:
    foreign = [
        f"{name} -> {target}"
        for name, tree in sources()
        for target, ours in imports(name, tree)
        if not ours and target in OF_JUPYTER_AND_FRAMEWORKS and name.split(".")[0] not in FACES
    ]
    assert foreign == []


@pytest.mark.parametrize("name", jupyter_resume.__all__)
def test_every_exported_name_is_there_and_explained(name: str) -> None:
    if name in ("config", "summary"):
        with pytest.raises(errors.NoRun):
            getattr(jupyter_resume, name)
    elif name != "run":
        assert inspect.getdoc(getattr(jupyter_resume, name))


def test_the_package_lists_its_public_names_and_nothing_that_it_merely_imports() -> None:
    listed = {name for name in dir(jupyter_resume) if not name.startswith("__")}
    assert listed == {*jupyter_resume.__all__, "errors", "keras"}


@pytest.mark.parametrize("name", ["Image", "Table", "watch", "define_metric", "Artifact"])
def test_what_users_of_wandb_look_for_in_vain_is_said_not_to_be_here(name: str) -> None:
    with pytest.raises(AttributeError, match=rf"^{name} of wandb is not here \(yet\): .* files to save\(\)\.$"):
        getattr(jupyter_resume, name)


def test_every_public_function_and_class_has_a_docstring() -> None:
    bare = [
        f"{name}.{node.name}"
        for name, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
        and not any("setter" in ast.unparse(decorator) for decorator in node.decorator_list)
        and node.name not in _nested(tree)
    ]
    assert bare == []


def _nested(tree: ast.Module) -> set[str]:
    """Functions inside functions: nobody calls them from outside."""
    return {
        inner.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        for inner in ast.walk(node)
        if isinstance(inner, ast.FunctionDef) and inner is not node
    }


def test_the_error_tree_is_the_one_that_its_docstring_draws() -> None:
    classes = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.ResumeError)]
    drawn = {line.split()[1] if line[0] in "├└" else line.split("── ")[1].split()[0]
             for line in str(errors.__doc__).splitlines() if "── " in line}  # fmt: skip
    assert drawn == {c.__name__ for c in classes} - {"ResumeError"}


def test_importing_the_package_imports_no_framework_and_no_jupyter() -> None:
    code = "import sys, jupyter_resume; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not OF_JUPYTER_AND_FRAMEWORKS & set(loaded)
    assert not {"traitlets", "requests", "tqdm"} & set(loaded)


def test_a_run_of_this_machine_alone_imports_nothing_that_speaks_to_a_server(tmp_path: Path) -> None:
    code = """import sys, jupyter_resume as wandb
with wandb.init(mode=sys.argv[1]) as run:
    run.log({"loss": 0.5})
print(*sys.modules)"""
    for mode in ("local", "offline"):
        done = subprocess.run(
            [sys.executable, "-c", code, mode],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "JUPYTER_RESUME_HOME": str(tmp_path)},
        )
        names = ("_there", "sync.background", "sync.syncing", "sync.reconcile", "remote.base", "remote.http")
        loaded = done.stdout.split()
        assert not {f"jupyter_resume.{name}" for name in names} & set(loaded)
        assert not {"requests", "html", "netrc", "ssl"} & set(loaded)


def test_the_version_is_the_distributions() -> None:
    assert jupyter_resume.__version__ == importlib.metadata.version("jupyter-resume")


def test_the_changelog_begins_with_this_version() -> None:
    changelog = PACKAGE.parent / "CHANGELOG.md"
    if not changelog.exists():
        pytest.skip("not a source tree")
    assert f"## {jupyter_resume.__version__}" in changelog.read_text()
