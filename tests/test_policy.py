"""The resume rules as a pure function: DESIGN section 6 row by row, and what holds for every input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_resume.errors import InvalidPolicy, InvalidRunId, ResumeError
from jupyter_resume.identity import RunPath
from jupyter_resume.policy import Asked, Decision, Policy, decide, looks_for_unfinished, read_policy

FOUND = RunPath("local", "mnist", "a1b2c3d4")
RUN_IDS = st.none() | st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ASKED = st.builds(Asked, st.sampled_from(Policy), RUN_IDS)
WHOSE = st.sampled_from([None, "this notebook", "this program"])
PATHS = st.none() | st.builds(RunPath, st.just("local"), st.just("mnist"), RUN_IDS.filter(bool))


# The table, row by row


@pytest.mark.parametrize("nothing", [None, False, "never", "NEVER", " never ", "", "false", "False"])
def test_never_refuses_a_run_that_exists_with_three_ways_out_and_begins_one_that_does_not(nothing: object) -> None:
    asked = read_policy(nothing, "a1b2c3d4")
    refused = decide(asked, FOUND)
    assert (refused.action, refused.run_id) == ("refuse", "a1b2c3d4")
    for way_out in ("resume='allow'", "another id", "no id"):
        assert way_out in refused.reason
    assert decide(asked, None) == Decision("new", "a1b2c3d4", "a new run was asked for")


@pytest.mark.parametrize("word", ["allow", "Allow", " ALLOW\n"])
def test_allow_continues_a_run_that_exists_and_begins_one_that_does_not(word: str) -> None:
    asked = read_policy(word, "a1b2c3d4")
    assert decide(asked, FOUND).action == "continue"
    assert decide(asked, None).action == "new"
    assert decide(asked, None).run_id == "a1b2c3d4"


def test_must_continues_a_run_that_exists_and_refuses_one_that_does_not() -> None:
    asked = read_policy("must", "a1b2c3d4")
    assert decide(asked, FOUND).action == "continue"
    refused = decide(asked, None)
    assert refused.action == "refuse"
    assert "'a1b2c3d4' does not exist" in refused.reason
    assert "resume='allow'" in refused.reason


@pytest.mark.parametrize("auto", [True, "auto", "AUTO", "true", "True"])
def test_auto_continues_the_unfinished_run_of_this_notebook_and_else_begins_one(auto: object) -> None:
    asked = read_policy(auto)
    assert asked == Asked(Policy.AUTO, None)
    continued = decide(asked, FOUND, "this notebook")
    assert (continued.action, continued.run_id) == ("continue", FOUND.run_id)
    assert "this notebook" in continued.reason
    assert decide(asked, None, "this notebook") == Decision("new", None, "no run to continue")


def test_auto_with_an_id_is_allow_with_that_id() -> None:
    asked = read_policy(True, "a1b2c3d4")
    assert decide(asked, FOUND).action == "continue"
    assert decide(asked, None) == Decision("new", "a1b2c3d4", "no run to continue")
    assert not looks_for_unfinished(asked, in_notebook=True)


@pytest.mark.parametrize("run_id", ["a1b2c3d4", "x", "my-run", "2024", "A" * 64])
def test_any_other_string_is_a_run_id_with_allow(run_id: str) -> None:
    assert read_policy(run_id) == Asked(Policy.ALLOW, run_id)
    assert read_policy(run_id, run_id) == Asked(Policy.ALLOW, run_id)


def test_a_run_id_given_as_the_policy_is_cleaned_as_every_run_id() -> None:
    assert read_policy("my run/1") == Asked(Policy.ALLOW, "my-run-1")
    assert read_policy("my run/1", "my-run-1") == Asked(Policy.ALLOW, "my-run-1")
    with pytest.raises(InvalidRunId, match="65 characters"):
        read_policy("x" * 65)


def test_a_policy_that_names_another_run_than_the_id_is_refused_and_names_both() -> None:
    with pytest.raises(InvalidPolicy, match=r"'xxxx'.*'yyyy'"):
        read_policy("xxxx", "yyyy")


@pytest.mark.parametrize(
    ("near", "meant"),
    [
        ("alow", "allow"), ("allows", "allow"), ("Alllow", "allow"), ("allowed", "allow"), ("nver", "never"),
        ("neverr", "never"), ("mus", "must"), ("musst", "must"), ("aut", "auto"), ("autos", "auto"),
    ],
)  # fmt: skip
def test_a_near_miss_is_refused_and_not_taken_for_a_run_id(near: str, meant: str) -> None:
    with pytest.raises(InvalidPolicy, match=f"did you mean '{meant}'") as refused:
        read_policy(near)
    assert f"id={near!r}" in str(refused.value)


@pytest.mark.parametrize("thing", [0, 1, 1.0, b"allow", ["allow"], {"resume": True}, object()])
def test_a_policy_that_is_neither_word_nor_bool_is_refused_and_told_the_words(thing: object) -> None:
    with pytest.raises(InvalidPolicy, match="'allow', 'must', 'never', 'auto'"):
        read_policy(thing)


@pytest.mark.parametrize(
    ("policy", "in_notebook", "looked_for"),
    [
        (Policy.NEVER, True, False), (Policy.NEVER, False, False), (Policy.ALLOW, True, True),
        (Policy.ALLOW, False, False), (Policy.MUST, True, True), (Policy.MUST, False, False),
        (Policy.AUTO, True, True), (Policy.AUTO, False, True),
    ],
)  # fmt: skip
def test_without_an_id_the_unfinished_run_is_looked_for_by_auto_and_in_a_notebook_by_allow_and_must(
    policy: Policy, in_notebook: bool, looked_for: bool
) -> None:
    assert looks_for_unfinished(Asked(policy, None), in_notebook) is looked_for
    assert not looks_for_unfinished(Asked(policy, "an-id"), in_notebook)


@pytest.mark.parametrize("whose", [None, "this notebook", "this program"])
def test_must_with_nothing_to_continue_is_refused_with_a_remedy(whose: str | None) -> None:
    refused = decide(Asked(Policy.MUST, None), None, whose)
    assert refused.action == "refuse"
    assert "id=" in refused.reason
    if whose:
        assert f"{whose} has no unfinished run" in refused.reason


# For every input


@given(ASKED, PATHS, WHOSE)
def test_every_question_has_an_answer_in_one_line(asked: Asked, found: RunPath | None, whose: str | None) -> None:
    decision = decide(asked, found, whose)
    assert decision.action in ("new", "continue", "refuse")
    assert decision.reason
    assert "\n" not in decision.reason


@given(ASKED, PATHS, WHOSE)
def test_what_never_and_must_promise_holds_whatever_exists(
    asked: Asked, found: RunPath | None, whose: str | None
) -> None:
    action = decide(asked, found, whose).action
    if asked.policy is Policy.NEVER:
        assert action != "continue"
    if asked.policy is Policy.MUST:
        assert action != "new"
    if asked.policy in (Policy.ALLOW, Policy.AUTO):
        assert action != "refuse"
    if found is None:
        assert action != "continue"
    else:
        assert action != "new"


@given(ASKED, PATHS, WHOSE)
def test_a_decision_is_about_the_run_that_was_asked_for_or_found(
    asked: Asked, found: RunPath | None, whose: str | None
) -> None:
    decision = decide(asked, found, whose)
    if decision.action == "continue":
        assert found is not None
        assert decision.run_id == found.run_id
    if decision.action == "new":
        assert decision.run_id == asked.run_id


@given(st.none() | st.booleans() | st.text() | st.integers() | st.binary(), st.none() | st.text())
def test_any_policy_and_id_are_read_or_refused_as_invalid_input(resume: object, run_id: str | None) -> None:
    try:
        asked = read_policy(resume, run_id)
    except ResumeError as error:
        refused = error
    else:
        assert isinstance(asked.policy, Policy)
        if resume in (None, False):
            assert asked.policy is Policy.NEVER
        if resume is True:
            assert asked.policy is Policy.AUTO
        return
    assert isinstance(refused, ValueError)
    assert "\n" not in str(refused)


@given(st.text(), st.text())
def test_an_id_that_was_asked_for_is_never_exchanged_for_another(resume: str, run_id: str) -> None:
    try:
        asked = read_policy(resume, run_id)
    except ResumeError:
        return
    assert asked.run_id == read_policy("allow", run_id).run_id
