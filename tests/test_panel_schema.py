"""What the sidebar's settings schemas bring: menus, shortcuts, a toolbar button, and words in the user's language."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import panel as sidebar
from .lab import PREFIX, JupyterServer, need
from .panel import Panel
from .test_browser import Lab, browser, without

__all__ = ["browser"]  # pytest's fixture

SIDEBAR = Path(__file__).parent.parent / "labextension"
SCHEMAS = {file.stem: json.loads(file.read_text()) for file in (SIDEBAR / "schema").glob("*.json")}
DOMAIN = "jupyter_resume"
GERMAN = {
    "Run sidebar": ("schema", "Lauf"),
    "Resume by itself": ("settings", "Selbst fortsetzen"),
    "Show the Run of This Notebook": (None, "Lauf dieses Notebooks zeigen"),
    "This notebook has no run yet.": (None, "Dieses Notebook hat noch keinen Lauf."),
}


def keys(shortcut: dict[str, Any]) -> Iterator[str]:
    """The keys of a shortcut on each system, modifiers in one order."""
    for name in ("keys", "macKeys", "winKeys", "linuxKeys"):
        chord = " ".join(shortcut.get(name) or ()).replace("Accel", "Ctrl")
        if chord.strip():
            *modifiers, key = chord.split(" ")
            yield " ".join([*sorted(modifiers), key])


def commands() -> str:
    return "".join(file.read_text() for file in (SIDEBAR / "src" / "plugins").glob("*.ts*"))


def test_no_shortcut_is_another_s_in_jupyterlab_or_notebook_7() -> None:
    sidebar.need_built()
    theirs = [
        *PREFIX.glob("share/jupyter/lab/schemas/**/*.json"),
        *PREFIX.glob("share/jupyter/labextensions/@jupyter*/**/schemas/**/*.json"),
    ]
    taken = {}
    for file in theirs:
        for shortcut in json.loads(file.read_text()).get("jupyter.lab.shortcuts", ()):
            taken.update(dict.fromkeys(keys(shortcut), shortcut["command"]))
    assert taken["Ctrl Shift C"] == "apputils:activate-command-palette"
    ours = [shortcut for schema in SCHEMAS.values() for shortcut in schema["jupyter.lab.shortcuts"]]
    assert ours
    assert {key: taken[key] for shortcut in ours for key in keys(shortcut) if key in taken} == {}


def test_what_a_schema_names_is_a_command() -> None:
    named = re.findall(r'"command": "([^"]+)"', "".join(json.dumps(schema) for schema in SCHEMAS.values()))
    assert named
    assert [command for command in named if f"addCommand('{command}'" not in commands()] == []


def test_every_word_of_a_schema_is_translated_from_the_sidebar_s_own_catalogue() -> None:
    assert f"DOMAIN = '{DOMAIN}'" in (SIDEBAR / "src" / "tokens.ts").read_text()
    for schema in SCHEMAS.values():
        assert schema["jupyter.lab.internationalization"]["domain"] == DOMAIN


# In a browser


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Iterator[Lab]:
    sidebar.need_built()
    folder = tmp_path_factory.mktemp("lab")
    lab = Lab(folder, sidebar=True)
    lab.server.env["PYTHONPATH"] = str(language_pack(folder / "pack"))
    with lab.server:
        yield lab


def language_pack(folder: Path) -> Path:
    """A language pack for the sidebar alone, as translators make one; where it is to be found."""
    from babel.messages import Catalog
    from babel.messages.mofile import write_mo

    name = "jupyterlab_language_pack_de_DE"
    messages = folder / name / "locale" / "de_DE" / "LC_MESSAGES"
    messages.mkdir(parents=True)
    (folder / name / "__init__.py").touch()
    about = folder / f"{name}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[jupyterlab.languagepack]\nde_DE = {name}\n")
    catalog = Catalog("de_DE")
    head = {"domain": DOMAIN, "language": "de-DE", "plural_forms": "nplurals=2; plural=(n != 1);", "version": "1.0"}
    words: dict[str, Any] = {"": head}
    for english, (context, german) in GERMAN.items():
        catalog.add(english, german, context=context)
        words[f"{context}\u0004{english}" if context else english] = [german]
    with (messages / f"{DOMAIN}.mo").open("wb") as file:
        write_mo(file, catalog)
    (messages / f"{DOMAIN}.json").write_text(json.dumps(words))
    return folder


def test_the_run_is_shown_and_resumed_by_shortcut(lab: Lab, browser: Any) -> None:
    sidebar.notebook(lab.server, "keys.ipynb", steps=5)
    page = lab.open(browser, "keys.ipynb")
    panel = Panel(page)
    sidebar.run_first(page)
    page.get_by_text("Finished, step 5").wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    assert not panel.node.is_visible()
    assert page.locator(".jp-NotebookPanel-toolbar [data-jp-item-name='jupyter-resume'] :visible").count() == 0
    for _ in range(2):  # from the notebook and from the sidebar
        page.keyboard.press("Control+Alt+Enter")
        asked = page.locator(".jp-Dialog")
        asked.get_by_text("Resume runs").first.wait_for()
        asked.locator(".jp-mod-reject").click()
        asked.wait_for(state="detached")
        page.keyboard.press("Control+Alt+r")
        panel.wait_for_state("Finished")
        page.wait_for_function("() => document.activeElement.closest('#jupyter-resume-panel')")
    page.close()


def test_the_sidebar_and_its_settings_speak_the_user_s_language(lab: Lab, browser: Any) -> None:
    lab.set("plugin", plugin="@jupyterlab/translation-extension", locale="de_DE")
    lab.server.create_notebook("german.ipynb", ["1"])
    page = lab.open(browser, "german.ipynb")
    page.locator(".lm-MenuBar-item", has_text="View").click()
    page.locator(".lm-Menu-item[data-command='jupyter-resume:open']", has_text="Lauf dieses Notebooks zeigen").click()
    Panel(page).node.get_by_text("Dieses Notebook hat noch keinen Lauf.").wait_for()
    schemas = {
        name: lab.server.request("GET", f"/lab/api/settings/jupyter-resume:{name}").json()["schema"]
        for name in ("panel", "recovery")
    }
    assert schemas["panel"]["title"] == "Lauf"
    assert schemas["recovery"]["properties"]["autoResume"]["title"] == "Selbst fortsetzen"
    page.close()


def test_notebook_7_has_a_button_for_the_run(tmp_path: Path, browser: Any) -> None:
    need("notebook")
    sidebar.need_built()
    environment = {"JUPYTER_RESUME_HOME": str(tmp_path / "store")} | without(tmp_path)
    with JupyterServer(tmp_path / "root", env=environment, app="notebook") as server:
        server.create_notebook("n.ipynb", ["1"])
        page = browser.new_page(viewport={"width": 1100, "height": 800})
        page.set_default_timeout(60_000)
        page.goto(f"{server.url}/notebooks/n.ipynb?token={server.token}")
        page.get_by_role("button", name="Open the sidebar with state, metrics, files and past runs").click()
        Panel(page).node.get_by_text("This notebook has no run yet.").wait_for()
        assert sidebar.serious(page, ".jp-NotebookPanel-toolbar [data-jp-item-name='jupyter-resume']") == []
        page.screenshot(path=tmp_path / "button.png")
        page.close()
