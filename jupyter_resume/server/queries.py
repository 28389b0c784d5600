"""The queries of the schema: who asks, what server this is, and the way to runs."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidInput
from ..identity import check_name
from .naming import encode_id, page
from .nodes import Asking, EntityNode, ProjectNode, projects


class Query:
    """The root of a query."""

    def __init__(self, asking: Asking) -> None:
        self._asking = asking
        self.serverInfo: dict[str, Any] = {
            "cliVersionInfo": {"min_cli_version": "0.8.0", "max_cli_version": "999.0.0"},
            "latestLocalVersionInfo": None,
            "features": [],
        }

    @property
    def viewer(self) -> dict[str, Any]:
        """Who asks: the key's name and entity."""
        client = self._asking.client
        teams = [{"node": {"name": client.entity}}]
        return {
            "id": encode_id("User", client.name),
            "name": client.name,
            "username": client.name,
            "email": "",
            "entity": client.entity,
            "flags": "{}",
            "admin": False,
            "apiKeys": {"edges": []},
            "teams": {"edges": teams},
            "defaultEntity": EntityNode(self._asking, client.entity),
        }

    def users(self, info: Any, query: str | None = None) -> dict[str, Any]:
        """No accounts are kept here, only keys."""
        return {"edges": []}

    def entity(self, info: Any, name: str | None = None) -> EntityNode:
        """An entity."""
        entity = self._asking.entity(name)
        self._asking.client.check_read(entity)
        return EntityNode(self._asking, entity)

    def organization(self, info: Any, name: str | None = None) -> None:
        """There are none."""

    def project(self, info: Any, name: str | None = None, entityName: str | None = None) -> ProjectNode | None:
        """A project; None for a name that no project can have."""
        entity = self._asking.entity(entityName)
        self._asking.client.check_read(entity)
        try:
            return ProjectNode(self._asking, check_name(entity, "entity"), check_name(name, "project"))
        except InvalidInput:
            return None

    model = project

    def projects(
        self, info: Any, entityName: str | None = None, after: str | None = None, first: int | None = None
    ) -> dict[str, Any]:
        """The projects of an entity."""
        entity = self._asking.entity(entityName)
        if not self._asking.client.may_read(entity):
            return page([], None, 0)
        return projects(self._asking, entity, after, first)

    models = projects
