"""Run ids and run paths, for any text that a user may write."""

from __future__ import annotations

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_resume.errors import InvalidInput, InvalidRunId, InvalidRunPath, ResumeError
from jupyter_resume.identity import MAX_ID, MAX_NAME, RunPath, as_given, check_name, clean_id, generate_id
from jupyter_resume.store.home import _folder_name
from jupyter_resume.util import generate_id as documented_generate_id

IDS = st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=MAX_ID)
NAMES = st.text(
    st.characters(blacklist_categories=["Cs", "Cc"], blacklist_characters="/\\#?%:"), min_size=1, max_size=MAX_NAME
).filter(lambda text: bool(text.strip()))


@given(st.integers(1, MAX_ID))
def test_a_generated_id_has_the_length_asked_for_and_only_digits_and_small_letters(length: int) -> None:
    assert re.fullmatch(f"[0-9a-z]{{{length}}}", generate_id(length))


def test_a_generated_id_has_eight_characters_and_is_not_made_twice() -> None:
    made = {documented_generate_id() for _ in range(1000)}
    assert len(made) == 1000
    assert {len(one) for one in made} == {8}


@pytest.mark.parametrize("length", [0, -1, MAX_ID + 1, 10**9])
def test_an_id_of_an_impossible_length_is_not_generated(length: int) -> None:
    with pytest.raises(InvalidRunId, match="1 to 64"):
        generate_id(length)


@given(IDS)
def test_an_id_of_recognised_characters_is_used_as_it_is(text: str) -> None:
    assert clean_id(text) == text


@given(st.text(min_size=1, max_size=MAX_ID).filter(lambda text: bool(text.strip())))
def test_every_unrecognised_character_becomes_one_dash(text: str) -> None:
    cleaned = clean_id(text)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", cleaned)
    assert len(cleaned) == len(text)
    assert clean_id(cleaned) == cleaned


@given(st.text(min_size=MAX_ID + 1))
def test_an_id_of_more_than_64_characters_is_refused_in_one_line_that_says_how_long_it_is(text: str) -> None:
    if text.strip():
        with pytest.raises(InvalidRunId, match=f"{len(text)} characters") as refused:
            clean_id(text)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
def test_an_empty_id_is_refused_with_both_ways_out(empty: str) -> None:
    with pytest.raises(InvalidRunId, match="leave id out"):
        clean_id(empty)


@pytest.mark.parametrize("thing", [None, 7, b"abc", ["a"], 1.5, object()])
def test_an_id_that_is_no_string_is_refused(thing: object) -> None:
    with pytest.raises(InvalidRunId, match="string"):
        clean_id(thing)


@given(NAMES, NAMES, IDS)
def test_a_run_path_reads_back_as_what_was_written(entity: str, project: str, run_id: str) -> None:
    path = RunPath.of(entity, project, run_id)
    assert RunPath.parse(str(path), "other", "others") == path
    assert RunPath.parse(f"{entity}/{project}/runs/{run_id}") == path
    assert RunPath.parse(f"/{path}/") == path


@given(NAMES, NAMES, NAMES, IDS)
def test_a_short_path_takes_what_it_leaves_out_from_the_defaults(
    entity: str, project: str, other: str, run_id: str
) -> None:
    assert RunPath.parse(run_id, entity, project) == RunPath(entity, project, run_id)
    assert RunPath.parse(f"{other}/{run_id}", entity, project) == RunPath(entity, other, run_id)


@pytest.mark.parametrize("text", ["e/p:exp-7", "e/p/exp-7", "e/p/exp-7 ", "/e/p/runs/exp-7/\n"])
def test_a_run_path_may_be_written_as_w_and_b_writes_it(text: str) -> None:
    assert RunPath.parse(text, "other", "others") == RunPath("e", "p", "exp-7")
    assert RunPath.parse("p:exp-7", "e", "others") == RunPath("e", "p", "exp-7")


def test_an_id_that_another_client_gave_can_be_left_as_it_is() -> None:
    for text in ("e/p/resnet-v1.5", "e/p:resnet-v1.5", "https://wandb.ai/e/p/runs/resnet-v1.5?workspace=user"):
        assert RunPath.parse(text).run_id == "resnet-v1-5"
        assert RunPath.parse(text, clean=as_given).run_id == "resnet-v1.5"


@given(st.text())
def test_any_text_is_a_run_path_or_is_refused_in_one_line(text: str) -> None:
    try:
        path = RunPath.parse(text)
    except ResumeError as error:
        refused = error
    else:
        assert RunPath.parse(str(path)) == path
        return
    assert isinstance(refused, InvalidInput)
    assert "\n" not in str(refused)


@pytest.mark.parametrize(
    "text", ["", "/", "a//b", "a/b/c/d", "a/b/c/d/e", "a/b/runs/c/d", " / ", "a/ /c", ":", "p:", ":a", "e/p:"]
)
def test_what_is_no_run_path_is_told_the_three_forms(text: str) -> None:
    with pytest.raises(InvalidRunPath, match="entity/project/run_id, project/run_id or run_id"):
        RunPath.parse(text)


@pytest.mark.parametrize("thing", [None, 7, b"a/b"])
def test_a_run_path_that_is_no_string_is_refused(thing: object) -> None:
    with pytest.raises(InvalidRunPath, match="string"):
        RunPath.parse(thing)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["", " ", "a/b", "a\\b", "a#b", "a?b", "a%b", "a:b", "a\x00", "a\nb", "\x7f"])
def test_a_project_with_a_character_that_paths_and_urls_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="project"):
        check_name(name, "project")


@pytest.mark.parametrize("name", ["\ud800", "caf\udce9"])
def test_a_project_that_is_no_unicode_text_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput, match="project"):
        check_name(name, "project")


def test_a_project_of_more_than_128_characters_is_refused() -> None:
    assert check_name("p" * MAX_NAME, "project")
    with pytest.raises(InvalidInput, match="129 characters"):
        check_name("p" * (MAX_NAME + 1), "project")


@given(st.lists(NAMES, min_size=2, max_size=2, unique=True))
def test_no_two_projects_share_a_folder_and_no_folder_leaves_its_place(names: list[str]) -> None:
    first, second = map(_folder_name, names)
    assert first != second
    for folder in (first, second):
        assert folder not in ("", ".", "..")
        assert "/" not in folder
        assert "\\" not in folder
        assert len(folder.encode()) <= 255


def test_the_address_of_a_runs_page_is_a_run_path() -> None:
    path = RunPath("local", "пр оект", "exp-7")
    for page in (
        "https://wandb.ai/local/пр оект/runs/exp-7",
        "http://127.0.0.1:8642/local/%D0%BF%D1%80%20%D0%BE%D0%B5%D0%BA%D1%82/runs/exp-7?workspace=user#loss",
        " https://host/behind/a/proxy/local/%D0%BF%D1%80%20%D0%BE%D0%B5%D0%BA%D1%82/runs/exp-7/logs ",
    ):
        assert RunPath.parse(page, "other", "others") == path
    for no in ("https://wandb.ai/local/p", "https://wandb.ai/p/runs/exp-7", "https://wandb.ai/local/a%2Fb/runs/exp-7"):
        with pytest.raises(InvalidInput):
            RunPath.parse(no)
