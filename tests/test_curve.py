"""Curves: thinned as they grow, their extremes kept, and the same however often somebody looked."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_resume.curve import Change, Curve

Points = dict[int, float | None]

values = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(-3, 3).map(float))
courses = st.lists(st.tuples(st.integers(0, 400), values), max_size=400)


def grown(course: list[tuple[int, float | None]], most: int = 8) -> Curve:
    """A curve to which these were added in this order."""
    curve = Curve(most)
    for stamp, (step, value) in enumerate(course, 1):
        curve.add(step, value, stamp)
    return curve


def shown(before: Points, change: Change) -> Points:
    """What somebody sees who saw ``before`` and was sent the change."""
    kept = {} if change.since is None else {step: value for step, value in before.items() if step < change.since}
    return kept | dict(zip(change.steps, change.values, strict=True))


def forwards(course: list[tuple[int, float | None]]) -> list[tuple[int, float | None]]:
    """The same values, at steps that only grow."""
    return [(step, value) for step, (_, value) in zip(sorted(step for step, _ in course), course, strict=True)]


@given(courses)
def test_the_lowest_and_the_highest_value_are_kept(course: list[tuple[int, float | None]]) -> None:
    course = list(dict(forwards(course)).items())
    known = [value for _, value in course if value is not None]
    curve = grown(course)
    kept = [value for value in curve.change().values if value is not None]
    assert curve.extremes() == ((min(known), max(known)) if known else None)
    assert not known or (min(kept), max(kept)) == (min(known), max(known))


@given(courses)
def test_every_point_of_a_curve_was_logged(course: list[tuple[int, float | None]]) -> None:
    history = dict(forwards(course))
    change = grown(forwards(course)).change()
    assert all(history[step] == value for step, value in zip(change.steps, change.values, strict=True))


@given(courses)
def test_a_curve_is_bounded_and_ends_where_the_run_does(course: list[tuple[int, float | None]]) -> None:
    history = dict(forwards(course))
    change = grown(list(history.items())).change()
    assert len(change.steps) <= 3 * 8 + 1
    assert change.steps == sorted(set(change.steps))
    if history:
        assert (change.steps[-1], change.values[-1]) == list(history.items())[-1]
    if len(history) <= 8:
        assert dict(zip(change.steps, change.values, strict=True)) == history


@given(courses, st.sets(st.integers(0, 400)), st.booleans())
def test_who_is_sent_changes_sees_what_one_sees_who_asks_once(
    course: list[tuple[int, float | None]], looks: set[int], ordered: bool
) -> None:
    course = forwards(course) if ordered else course
    curve, seen, cursor = Curve(8), Points(), -1
    for stamp, (step, value) in enumerate(course, 1):
        curve.add(step, value, stamp)
        if stamp in looks:
            seen, cursor = shown(seen, curve.change(cursor)), stamp
    seen = shown(seen, curve.change(cursor))
    assert seen == shown({}, curve.change())
    assert seen == shown({}, grown(course).change())


def test_a_change_of_a_long_curve_is_short() -> None:
    curve = grown([(step, random.random()) for step in range(100_000)], most=256)
    assert 256 <= len(curve.change().steps) <= 3 * 256 + 1
    curve.add(100_000, 0.5, 100_001)
    change = curve.change(100_000)
    assert change.since is not None
    assert len(change.steps) <= 8


@pytest.mark.parametrize("step", [0, 2**53])
def test_a_single_value_is_a_curve(step: int) -> None:
    assert grown([(step, 1.5)]).change() == Change(None, [step], [1.5])


def test_a_step_logged_again_counts_once() -> None:
    assert grown([(0, 9.0), (0, 1.0), (1, 2.0)]).extremes() == (1.0, 2.0)


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=60), max_size=12), st.sampled_from([1, 3, 1000]))
def test_many_values_at_once_make_the_same_curve(portions: list[list[float]], stride: int) -> None:
    one, other, step, stamp = Curve(8), Curve(8), 0, 0
    seen: Points = {}
    for values in portions:
        steps = [step + stride * n for n in range(len(values))]
        step, before, stamp = steps[-1] + 1, stamp, stamp + len(values)
        other.extend(steps, values, stamp)
        for at, value in zip(steps, values, strict=True):
            one.add(at, value, stamp)
        seen = shown(seen, other.change(before or -1))
        assert seen == shown({}, other.change()) == shown({}, one.change())
        assert other.extremes() == one.extremes()
