"""The resume rules: what is asked and what exists decide what happens. Pure; DESIGN section 6."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from .errors import InvalidInput, InvalidPolicy
from .identity import RunPath, clean_id


class Policy(str, Enum):
    """What a user may ask for."""

    NEVER = "never"
    ALLOW = "allow"
    MUST = "must"
    AUTO = "auto"


_WORDS = {"": Policy.NEVER, "false": Policy.NEVER, "true": Policy.AUTO} | {p.value: p for p in Policy}

CHOICES = ("adopt", "append", "fork")
"""What may be done with a run that has gone on here and on its server."""


@dataclass(frozen=True)
class Asked:
    """What was asked, once read: a policy, and the id that it speaks of, if any."""

    policy: Policy
    run_id: str | None


def read_policy(resume: object, run_id: str | None = None) -> Asked:
    """Read ``resume=`` (argument, WANDB_RESUME, ``--resume``) beside ``id=`` (or WANDB_RUN_ID).

    None, False and "never" never resume; True is "auto"; any other string is a run id, with "allow".
    """
    asked_id = None if run_id is None else clean_id(run_id)
    if resume is None or resume is False:
        return Asked(Policy.NEVER, asked_id)
    if resume is True:
        return Asked(Policy.AUTO, asked_id)
    if not isinstance(resume, str):
        raise InvalidPolicy(
            f"resume={resume!r} is no resume policy: use 'allow', 'must', 'never', 'auto' (or True), or a run id."
        )
    word = resume.strip().lower()
    if word in _WORDS:
        return Asked(_WORDS[word], asked_id)
    import difflib

    if meant := difflib.get_close_matches(word, [policy.value for policy in Policy], n=1, cutoff=0.75):
        raise InvalidPolicy(
            f"resume={resume!r} is no resume policy: did you mean {meant[0]!r}? "
            f"If it is a run id, pass id={resume!r} with resume='allow'."
        )
    named = clean_id(resume)
    if asked_id is not None and named != asked_id:
        raise InvalidPolicy(
            f"resume={resume!r} names another run than the id {asked_id!r} (id= or WANDB_RUN_ID): "
            "give only one of the two."
        )
    return Asked(Policy.ALLOW, named)


@dataclass(frozen=True)
class Decision:
    """What happens, for which run id (None: a new id is generated), and why, in words."""

    action: Literal["new", "continue", "refuse"]
    run_id: str | None
    reason: str


def decide(asked: Asked, found: RunPath | None, whose: str | None = None) -> Decision:
    """The table of DESIGN section 6.

    ``found`` is the run that exists under the asked id or, when no id was asked for and the policy looks
    for one, the unfinished run of ``whose`` ("this notebook", "this program"; None: nothing to look by).
    """
    policy, run_id = asked.policy, asked.run_id
    if found is not None:
        if policy is Policy.NEVER:
            return Decision(
                "refuse",
                found.run_id,
                f"Run {found} exists already and resume is 'never': pass resume='allow' (or 'must') to continue it, "
                "another id to start a new run, or no id to have a new one made.",
            )
        why = f"it was the unfinished run of {whose}" if run_id is None else "a run of this id exists"
        return Decision("continue", found.run_id, why)
    if policy is Policy.MUST:
        if run_id is not None:
            why = (
                f"Run {run_id!r} does not exist and resume is 'must': check the id and project, or pass resume='allow'."
            )
        elif whose is not None:
            why = f"resume is 'must' and {whose} has no unfinished run: pass id=, or resume='allow' to start one."
        else:
            why = "resume is 'must' and nothing says which run: pass id= or set WANDB_RUN_ID."
        return Decision("refuse", run_id, why)
    return Decision("new", run_id, "no run to continue" if policy is not Policy.NEVER else "a new run was asked for")


def looks_for_unfinished(asked: Asked, in_notebook: bool) -> bool:
    """Whether the unfinished run of this notebook or program is looked for: no id, and a policy that may."""
    if asked.run_id is not None:
        return False
    return asked.policy is Policy.AUTO or (in_notebook and asked.policy in (Policy.ALLOW, Policy.MUST))


def read_choice(text: str | None) -> str | None:
    """One of `CHOICES`, or none. Raises InvalidInput."""
    if text is not None and text not in CHOICES:
        raise InvalidInput(f"if_diverged={text!r:.40} is no choice: use 'adopt', 'append' or 'fork'.")
    return text
