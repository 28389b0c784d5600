"""The sidebar's side in Jupyter Server: authenticated routes over this machine's store."""

from __future__ import annotations

from typing import Any


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyter_resume.lab"}]


def _load_jupyter_server_extension(server_app: Any) -> None:
    from .routes import add_routes

    add_routes(server_app.web_app, server_app.contents_manager)
