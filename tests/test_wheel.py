"""What is shipped: the sidebar once and where Jupyter looks for it, of one version, from packages without hosts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import jupyter_resume

ROOT = Path(__file__).parent.parent
SIDEBAR = ROOT / "labextension"
BUILT = ROOT / "jupyter_resume" / "labextension"
IN_WHEEL = "share/jupyter/labextensions/jupyter-resume"


def package() -> dict[str, object]:
    values: dict[str, object] = json.loads((SIDEBAR / "package.json").read_text())
    return values


def test_the_sidebar_has_the_version_of_the_package() -> None:
    stated = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.M)
    assert stated
    assert package()["version"] == stated[1] == metadata.version("jupyter-resume")


def test_the_sidebar_s_packages_are_pinned_and_name_no_host() -> None:
    lock = (SIDEBAR / "yarn.lock").read_text()
    assert "@jupyterlab/notebook@npm:" in lock
    assert re.findall(r"https?://\S+|[\w.-]+\.(?:org|com|net|io|dev)/\S*", lock) == []


def test_typescript_is_strict() -> None:
    options = json.loads((SIDEBAR / "tsconfig.json").read_text())["compilerOptions"]
    assert options["strict"] is True
    sources = "".join(file.read_text() for file in (SIDEBAR / "src").rglob("*.ts*"))
    assert re.findall(r"@ts-|: any\b|<any>|as any\b|dangerouslySetInnerHTML|innerHTML", sources) == []


def test_styles_take_every_colour_from_the_theme() -> None:
    styles = "".join(file.read_text() for file in (SIDEBAR / "style").glob("*.css"))
    styles = re.sub(r"/\*.*?\*/", "", styles, flags=re.S)
    colours = r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(|:\s*(?:white|black|red|green|blue|gray|grey)\b"
    assert re.findall(colours, styles) == []
    selectors = [part for part in re.findall(r"^([^\s@}][^{}]*)\{", styles, re.M) for part in part.split(",")]
    assert [selector for selector in selectors if "jp-Resume" not in selector] == []


def test_a_developer_s_link_points_to_what_the_wheel_installs() -> None:
    (path,) = jupyter_resume._jupyter_labextension_paths()
    assert path["dest"] == package()["name"] == IN_WHEEL.rpartition("/")[2]
    assert (Path(jupyter_resume.__file__).parent / path["src"]).resolve() == BUILT.resolve()


@pytest.mark.skipif(not (BUILT / "package.json").exists(), reason="the sidebar is not built")
def test_the_wheel_holds_the_sidebar_once(tmp_path: Path) -> None:
    """Built as an editable installation left it: nothing is fetched, and no Node is asked for."""
    pytest.importorskip("hatchling")
    script = (
        "import sys; from hatchling.builders.wheel import WheelBuilder;"
        f"print(next(WheelBuilder({str(ROOT)!r}).build(directory={str(tmp_path)!r}, versions=['standard'])))"
    )
    environment = {**os.environ, "HATCH_JUPYTER_BUILDER_SKIP_NPM": "1"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]
    names = zipfile.ZipFile(done.stdout.strip().splitlines()[-1]).namelist()
    (prefix,) = {name.split(IN_WHEEL)[0] for name in names if IN_WHEEL in name}
    shipped = {name.removeprefix(prefix + IN_WHEEL + "/") for name in names if name.startswith(prefix + IN_WHEEL)}
    built = {str(file.relative_to(BUILT)) for file in BUILT.rglob("*") if file.is_file()}
    assert shipped == built | {"install.json"}
    assert {"package.json", "static/style.js"} <= shipped
    assert [name for name in names if name.startswith("jupyter_resume/labextension")] == []
    assert [name for name in names if "node_modules" in name or name.endswith((".ts", ".tsx", ".map"))] == []
