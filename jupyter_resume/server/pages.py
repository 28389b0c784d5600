"""Pages (to come)."""

from __future__ import annotations

from ..identity import RunPath
from .access import Client
from .hosting import Hosting


def home(hosting: Hosting, who: Client) -> str:
    """The projects."""
    return ""


def project(hosting: Hosting, entity: str, name: str, order: str, number: int) -> str:
    """The runs of a project."""
    return ""


def run(hosting: Hosting, path: RunPath) -> str:
    """A run."""
    return ""
