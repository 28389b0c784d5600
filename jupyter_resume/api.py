"""Api: runs and their files from outside a run, in this machine's store or on a remote, with the same names.

What it gives are values as they stood when they were asked for; asking again tells how a run stands now. The
names are those of W&B's public API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from . import listing, selection, settings
from .errors import InvalidInput, InvalidRunPath
from .identity import DEFAULT_ENTITY, RunPath, check_name
from .paging import Paged, Piece
from .seen import ApiRun, count
from .source import Source, meant
from .tables import Table

_SHOWN = 20


class Api:
    """Runs from outside: ``run(path)`` for one, ``runs(project)`` for many.

    With ``base_url``, or where an API key is configured, they are the server's; else those of this machine's
    store. ``mode="local"`` asks the store whatever is configured, ``mode="online"`` the server.

    >>> import jupyter_resume as wandb
    >>> with wandb.init(project="docs", id="first", config={"lr": 0.1}) as run:
    ...     run.log({"loss": 0.5})
    >>> api = wandb.Api()
    >>> run = api.run("docs/first")
    >>> run.state, run.config["lr"], run.summary["loss"]
    ('finished', 0.1, 0.5)
    >>> [run.id for run in api.runs("docs", filters={"config.lr": {"$gt": 0.01}})]
    ['first']
    """

    def __init__(self, base_url: str | None = None, *, mode: str | None = None) -> None:
        self._source = meant(base_url, mode)

    @classmethod
    def of(cls, source: Source) -> Api:
        """The Api of a source that is at hand."""
        api = cls.__new__(cls)
        api._source = source
        return api

    @property
    def place(self) -> str:
        """Where the runs are: the server's address, or the store."""
        return self._source.place

    def run(self, path: str) -> ApiRun:
        """A run: ``entity/project/run_id``, ``project/run_id`` or ``run_id``.

        What the path leaves out is ``WANDB_ENTITY`` and ``WANDB_PROJECT``; a server knows whose key it is, and takes
        that for ``local`` too. Raises InvalidRunPath, RunMissing with the nearest ids, RemoteError.
        """
        return ApiRun(self._source, self._source.run(self.path(path)))

    def runs(
        self,
        path: str | None = None,
        filters: Mapping[str, Any] | None = None,
        order: str | None = "+created_at",
        per_page: int = 50,
    ) -> Runs:
        """The runs of a project, ``entity/project`` or ``project``; pages are fetched as they are needed.

        ``filters`` are MongoDB's: ``{"state": "finished", "config.lr": {"$gt": 0.01}, "summary_metrics.loss":
        {"$lt": 1}, "tags": {"$in": ["best"]}}``, with ``$and``, ``$or``, ``$nor``, ``$not``. ``order`` is
        ``+key`` or ``-key``: ``created_at``, ``heartbeat_at``, ``config.*``, ``summary_metrics.*``. Raises
        InvalidRunPath, InvalidInput; what the server refuses comes when the first page does.
        """
        entity, project = self._project(path)
        selection.check(filters or {})
        if order is not None and not isinstance(order, str):
            raise InvalidInput(
                f"order={order!r:.60} is no string: write it as '+created_at' or '-summary_metrics.loss'."
            )
        return Runs(self._source, entity, project, filters or {}, order, count("per_page", per_page))

    def path(self, text: str) -> RunPath:
        """The run that a text means here; see `run`."""
        whole = isinstance(text, str) and text.strip("/").count("/") >= 2
        entity = DEFAULT_ENTITY if whole else self._source.entity()
        project = settings.resolve({"mode": "local"}).project
        path = RunPath.parse(text, entity, project, clean=self._source.id_there)
        return replace(path, entity=self._source.entity_there(path.entity))

    def _project(self, text: str | None) -> tuple[str, str]:
        if text is None:
            text = settings.resolve({"mode": "local"}).project
        parts = text.strip("/").split("/") if isinstance(text, str) else []
        if not 1 <= len(parts) <= 2:
            raise InvalidRunPath(f"{text!r:.200} is no project: write entity/project or project.")
        project = check_name(parts[-1], "project")
        entity = check_name(parts[0], "entity") if len(parts) == 2 else self._source.entity()
        return self._source.entity_there(entity), project

    def __repr__(self) -> str:
        return f"<Api of {self.place}>"


class Runs(Paged["ApiRun"]):
    """The runs that were asked for: iterable, indexable, with a length; shows itself as a table."""

    def __init__(
        self, source: Source, entity: str, project: str, filters: Mapping[str, Any], order: str | None, per_page: int
    ) -> None:
        super().__init__(self._page)
        self._source = source
        self._asked = entity, project, filters, order
        self._per_page = per_page
        self._known: set[RunPath] = set()

    def _page(self, cursor: str | None) -> Piece[ApiRun]:
        page = self._source.runs(*self._asked, cursor, self._per_page)
        fresh = [run for run in page.runs if run.path not in self._known]  # a new run shifts the pages behind it
        self._known.update(run.path for run in fresh)
        return Piece([ApiRun(self._source, run) for run in fresh], page.next, page.total)

    def _shown(self) -> Table:
        entity, project = self._asked[:2]
        shown = [run.seen for run in self[: min(_SHOWN, self._per_page)]]
        table = listing.seen(shown, f"no such runs of project {entity}/{project} in {self._source.place}")
        more = len(self) - len(shown)
        return replace(table, note=f"and {more} more") if more > 0 else table

    def __repr__(self) -> str:
        return repr(self._shown())

    def _repr_html_(self) -> str:
        return self._shown()._repr_html_()
