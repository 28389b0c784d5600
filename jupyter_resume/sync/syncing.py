"""Bringing one run to its replica, a step at a time; whoever calls decides when, and what an error means.

The server is asked where it stands before anything is sent, and again after every interruption: lines go to the
numbers that follow what it has, and never over what another machine has put there.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from functools import partial
from typing import Any

from ..errors import RemoteRefused, RemoteUnreachable, RunDiverged
from ..identity import DEFAULT_ENTITY, RunPath
from ..notices import Tell, tell
from ..remote.answers import host_of
from ..remote.base import Lines, Post, Remote, RemotePoint
from ..store import lines
from ..store.blobs import Blobs
from ..store.replica import Divergence, Replica, ReplicaFile, Shift
from . import merge, outbox
from .outbox import Batch, gather
from .reconcile import append, forget, go_on, take_counts
from .relation import Diverged, GoneOn, InStep, relate
from .replicating import Stopped
from .source import Look, Source
from .standing import gone_on
from .uploading import Uploading

_WRITTEN = ("running", "pending", "preempting")  # states of a run that somebody writes
_SMALL = 1 << 12  # bytes that any server takes
MARK = "cli_version"  # where a run's config says which client began to write it last: every SDK puts its own there
FRESH = 1.0  # seconds that the server's last word of where it stands is relied on; a post seldom comes so soon


class Syncing(Uploading):
    """Brings the run of ``source`` to ``remote``. Its methods raise RemoteError; what was acknowledged is remembered.

    Rows are one caller's business and files another's: they may be brought from two threads.
    """

    def __init__(
        self,
        remote: Remote,
        source: Source,
        blobs: Blobs,
        replica: Replica,
        file: ReplicaFile,
        *,
        shared: bool = False,
        stopped: Stopped = lambda said: None,
        tell: Tell = tell,
    ) -> None:
        super().__init__(remote, source, blobs, replica, file, stopped)
        self.shared = shared
        self.begun = False
        self.rows_sent = 0
        self.tell = tell
        self._mark: str | None = None
        self._gone_on = False  # whether somebody else has gone on with the run since it ended here
        self._most, self._longest = outbox.MOST_BYTES, outbox.MOST_LINE
        self._seen: tuple[dict[str, Any], dict[str, Any], RemotePoint] | None = None
        self._checked = time.monotonic()

    def verify(self, if_diverged: str | None = None) -> None:
        """Ask where the server stands, and go on from there. Raises RunDiverged if that cannot be decided here.

        ``if_diverged="append"``: rows that wait here go behind what the server has, as those of a ``shared`` run do.
        """
        self._hold()
        if self.replica.path.entity == DEFAULT_ENTITY and self.replica.storage_id is None:
            self.replica.path = replace(self.replica.path, entity=self.remote.account().entity)
        there = self.remote.resume_point(self.replica.path)
        look = self._source.look()
        scan = partial(self.remote.scan, self.replica.path)
        relation = relate(self._source.record, self.replica, there, scan, look.reached)
        to_be_cut = isinstance(relation, GoneOn) and relation.cut is not None and look.reached is None
        with self._lock:
            if there is None or there.storage_id != self.replica.storage_id:
                self._forget_files()
            if there is None:
                forget(self.replica)
            elif isinstance(relation, InStep):
                go_on(self.replica, relation)
            elif to_be_cut:
                pass  # who begins the run next follows the rewind; nothing of it is sent until then
            elif isinstance(relation, GoneOn):
                self._go_on_behind(relation, there, look)
            elif if_diverged == "append" or self.shared:
                self._tell_of_steps(append(self.replica, relation.first, there), there)
            else:
                self.replica.diverged = Divergence(relation.first.number, there.last_step)
                self._file.save(self.replica)
                raise diverged(self.replica.path, self.remote.base_url, relation, there)
            if there is not None:
                take_counts(self.replica, there)
                self.replica.rewound = self.replica.rewound if to_be_cut else there.rewound_to
            if there is None or self.replica.diverged is not None:  # lest what is over be believed after a kill
                self.replica.diverged = None
                self._file.save(self.replica)
            # What it had been told from here, beside what it has now: others may have changed the rest.
            self._seen = None if there is None else (self.replica.said, self.replica.summary, there)
        self.verified, self._checked = True, time.monotonic()

    def _go_on_behind(self, relation: GoneOn, there: RemotePoint, look: Look) -> None:
        """What is logged from now on goes behind what somebody else has put there."""
        if relation.open_row is not None:
            self._tell_of_steps(append(self.replica, relation.open_row, there), there)
            return
        steps = 0 if look.reached is None else max(0, there.next_step - look.reached)
        self.replica.shifts = [shift for shift in self.replica.shifts if shift.since < look.rows]
        self.replica.move(Shift(look.rows, there.rows - look.rows, steps))
        self.replica.rows, self.replica.last = look.rows, dict(there.tail)
        self.replica.summary = {**self.replica.summary, **{k: v for k, v in there.tail.items() if k == "_step"}}
        if look.reached is None:
            self.replica.ended, self._gone_on = look.sessions, True  # how it ended here was before that
        else:
            self._tell_of_steps(steps, there)

    def _tell_of_steps(self, steps: int, there: RemotePoint) -> None:
        if not self.shared:  # there it is what was asked for
            self.tell(
                f"run {self.replica.path} has gone on at {self.host}, to step {there.last_step}: rows that are logged "
                "here follow it there" + (f", {steps} steps higher." if steps else ".")
            )

    def share(self) -> None:
        """Let others join the run. One that begins to write to it writes over the mark that `begin` leaves there."""
        self.shared, self._mark = True, self._mark or f"0.0.0+jupyter-resume.{secrets.token_hex(8)}"
        self.begun = False

    def give_way(self) -> None:
        """Raise RemoteUnreachable while somebody who was let in writes the run: W&B's SDK counts its lines by itself.

        Its rows would stand at the numbers of those that are sent from here meanwhile. It is seen from its beginning
        on; in the moment between its question for the run's lines and that it is not.
        """
        if self._mark is None or not self.begun:
            return
        there = self.remote.resume_point(self.replica.path)
        if there is None or there.internal.get(MARK) == self._mark:
            return
        if self.remote.run(self.replica.path).state in _WRITTEN:
            raise RemoteUnreachable(
                f"Run {self.replica.path} is being written by another client, which has joined it at {self.host}: "
                "what is logged here is sent when that one has ended.",
                held=True,
            )
        self.begun = self.verified = False

    def begin(self) -> None:
        """Begin the run on the server, or go on with it there."""
        self._hold()
        look = self._source.look()
        said = merge.description(self._with_others(look.said), self.replica)
        mark = self._mark
        if mark is not None:
            said = replace(said, internal={**said.internal, MARK: mark})
        begun = self.remote.begin(self.replica.path, said, self.replica.storage_id)
        with self._lock:
            self.replica.path = begun.path
            self.replica.storage_id = begun.storage_id or self.replica.storage_id
            self.replica.said = look.said
            if self.replica.ended == look.sessions and not self._gone_on:
                self.replica.ended = 0  # it counts as running there from now on, until its end is told again
            self._save()
        self.begun = mark == self._mark
        if mark is not None:
            there = self.remote.resume_point(begun.path)
            if there is None or there.internal.get(MARK) != mark:
                self._mark = None  # a server that does not keep it
        if begun.rows is not None and begun.rows > self.replica.there(self.replica.rows):
            self.verify()  # somebody else has written since we asked

    def send(self) -> bool:
        """Send all that is new now, in posts; False if there was nothing. An error leaves it to be sent again."""
        sent, more = False, True
        while more:
            posted, more = self._send()
            sent |= posted
        return sent

    def _send(self) -> tuple[bool, bool]:
        """Send one post; whether anything was sent, and whether more was there already."""
        look = self._source.look()
        batch = self._gather(look)
        if batch.rows and self._stale():
            self.verify()  # another machine may have gone on with the run: its lines are not written over
            batch = self._gather(look)
        summary = self._summary(look, batch)
        changed = merge.differ(summary, self.replica.summary)
        if not batch and not changed:
            self.replica.cursor = batch.cursor
            return False, False
        try:
            self._post(
                Post(
                    rows=Lines(batch.first, batch.rows) if batch.rows else None,
                    events=batch.streams.get("events"),
                    output=batch.streams.get("output"),
                    summary=self._summary_with_others(summary) if changed else None,
                )
            )
        except RemoteRefused as error:
            if error.status != 413 or not self._make_smaller(batch):
                raise
            return False, True
        for step in batch.too_long:
            self.tell(
                f"the row of step {step} is too long for {self.host}: it is whole in this machine's record, and only "
                "its step was sent."
            )
        self.rows_sent += len(batch.rows)
        with self._lock:
            for shift in batch.shifts:
                self.replica.move(shift)
            self.replica.rows, self.replica.cursor, self.replica.last = batch.number, batch.cursor, batch.last
            for stream, sent in batch.streams.items():
                setattr(self.replica, stream, sent.offset + len(sent.texts))
            self.replica.summary = summary
            self._save()
        return True, batch.full

    def _gather(self, look: Look) -> Batch:
        return gather(self._source.record, self.replica, look.reached, self._most, self._longest)

    def _make_smaller(self, batch: Batch) -> bool:
        """Post less at once, or less of a row that is too long by itself; False if neither can be."""
        texts = [*batch.rows, *(text for part in batch.streams.values() for text in part.texts)]
        size = sum(map(len, texts))
        if size <= _SMALL:  # it is not for its size that a server refuses so little
            return False
        if len(texts) == 1 and batch.rows:
            self._longest = min(self._longest, size - 1)
            return True
        before, self._most = self._most, max(_SMALL, min(self._most, size) // 2)
        return self._most < before

    def _stale(self) -> bool:
        """Whether somebody else may have written to the run since the server was asked."""
        return self.shared or time.monotonic() - self._checked > FRESH

    def _with_others(self, said: dict[str, Any]) -> dict[str, Any]:
        """What is said of the run here, and by others on the server."""
        return said if self._seen is None else merge.with_others(said, self._seen[0], self._seen[2])

    def _summary(self, look: Look, batch: Batch) -> dict[str, Any]:
        """The summary as it is with the rows that the server has then."""
        return merge.told(look.summary, look.runtime, look.rows, batch.last)

    def _summary_with_others(self, summary: dict[str, Any]) -> str:
        """The summary that is sent: whole, with what others have put there."""
        if self._seen is not None:
            _, base, there = self._seen
            theirs = merge.merge(base, summary, there.summary)
            summary = {**summary, **theirs, **{key: summary[key] for key in ("_wandb", "_step") if key in summary}}
        return lines.dump_exact(summary).decode()

    def describe(self) -> bool:
        """Tell the server what has changed of config, name, notes, tags; False if nothing has."""
        said = self._source.look().said
        before = self.replica.said
        if not merge.differ(said, before):
            return False
        if self._stale():
            self.verify()
        self.remote.describe(self.replica.path, merge.description(self._with_others(said), self.replica, before))
        with self._lock:
            self.replica.said = said
            self._save()
        return True

    def end(self) -> None:
        """Tell the server how the run ended, if it did and that was not told."""
        look = self._source.look()
        if look.exit_code is None or self.replica.ended == look.sessions:
            return
        self._post(Post(complete=True, exit_code=look.exit_code))
        with self._lock:
            self.replica.ended = look.sessions
            self._save()

    def anything(self) -> bool:
        """Whether the server lacks anything of the run."""
        look = self._source.look()
        batch = self._gather(look)
        return (
            bool(batch)
            or merge.differ(self._summary(look, batch), self.replica.summary)
            or merge.differ(look.said, self.replica.said)
            or bool(self.files_waiting())
            or (look.exit_code is not None and self.replica.ended != look.sessions)
        )


def diverged(path: RunPath, base_url: str, relation: Diverged, there: RemotePoint) -> RunDiverged:
    """The refusal to mix two histories: both sides, and the ways on."""
    both = gone_on(host_of(base_url), relation.waiting, relation.last_step, there.last_step)
    return RunDiverged(
        f"Run {path} {both}. Nothing was overwritten.",
        here=relation.last_step,
        there=there.last_step,
        waiting=relation.waiting,
    )
