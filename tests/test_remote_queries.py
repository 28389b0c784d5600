"""The GraphQL documents: valid by our schema, and asking for nothing that W&B's own SDK does not ask for."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    ObjectValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    parse,
    validate,
)

from jupyter_resume.remote import queries
from jupyter_resume.server.graphql import schema

from .sdk import Sdk, environment

pytest_plugins = ("tests.sdk_fixtures",)

DOCUMENTS = {name: text for name, text in vars(queries).items() if name.isupper() and isinstance(text, str)}
DOCUMENTS.pop("_RUN", None)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_document_is_valid_by_our_servers_schema(name: str) -> None:
    assert validate(schema(), parse(DOCUMENTS[name])) == []


def test_every_document_has_one_operation_with_a_name_of_its_own() -> None:
    names = [found for text in DOCUMENTS.values() for found in re.findall(r"(?:query|mutation)\s+(\w+)", text)]
    assert len(names) == len(set(names)) == len(DOCUMENTS) >= 13


def test_decoration_is_what_some_document_asks_for() -> None:
    asked = {step for text in DOCUMENTS.values() for path in paths(text) for step in path}
    assert asked >= queries.DECORATION
    assert not queries.DECORATION & {
        "historyLineCount",
        "historyTail",
        "summaryMetrics",
        "config",
        "url",
        "md5",
        "name",
    }


@pytest.mark.parametrize("field", sorted(queries.OPTIONAL))
def test_a_document_without_a_field_asks_for_everything_else(field: str) -> None:
    assert any(field in step for text in DOCUMENTS.values() for step in paths(text))
    for text in DOCUMENTS.values():
        less = queries.without(text, [field])
        assert validate(schema(), parse(less)) == []
        assert paths(less) == {path for path in paths(text) if field not in path or "input:" in path}
    for text in DOCUMENTS.values():
        assert validate(schema(), parse(queries.without(text, queries.OPTIONAL))) == []


def paths(text: str) -> set[tuple[str, ...]]:
    """Everything that a document asks for: paths of fields, arguments, and the fields of inputs."""
    document = parse(text)
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}

    def below(selections: SelectionSetNode | None, at: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for node in selections.selections if selections else ():
            if isinstance(node, FragmentSpreadNode):
                yield from below(fragments[node.name.value].selection_set, at)
            elif isinstance(node, FieldNode):
                here = (*at, node.name.value)
                yield here
                for argument in node.arguments or ():
                    yield (*here, f"{argument.name.value}:")
                    if isinstance(argument.value, ObjectValueNode):
                        yield from (
                            (*here, f"{argument.name.value}:", field.name.value) for field in argument.value.fields
                        )
                yield from below(node.selection_set, here)

    (operation,) = (node for node in document.definitions if isinstance(node, OperationDefinitionNode))
    return set(below(operation.selection_set, ()))


# What the SDK asks for


@pytest.fixture(scope="module")
def theirs(current: Sdk) -> dict[str, set[tuple[str, ...]]]:
    """The SDK's operations: those of its core stand as text in its binary, those of its public API in Python."""
    python = environment(current)
    (binary,) = (python.parent.parent / "lib").glob("python*/site-packages/wandb/bin/wandb-core")
    core = binary.read_bytes()
    found = {name: paths(text) for name, text in operations(core)}
    code = (
        "import inspect, json; from wandb.apis.public import files, runs; "
        "print(json.dumps({'Runs': runs._create_runs_query(lazy=False), 'RunFiles': files.Files._get_query(None), "
        "'history': inspect.getsource(runs.Run._full_history), "
        "'sampled': inspect.getsource(runs.Run._sampled_history)}))"
    )
    said = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=Path("/")).stdout
    public: dict[str, Any] = json.loads(said.splitlines()[-1])
    assert "project(name: $project, entityName: $entity)" in public["history"]
    assert "run(name: $name) {{ {}(samples: $samples) }}" in public["history"]
    assert "run(name: $name) { sampledHistory(specs: $specs) }" in public["sampled"]
    run = {(*path[:1], "run", *path[4:]) for path in paths(public["Runs"]) if path[:4] == NODE}
    return found | {"Runs": paths(public["Runs"]), "RunFiles": paths(public["RunFiles"]), "Run": run}


NODE = ("project", "runs", "edges", "node")


def operations(core: bytes) -> Iterator[tuple[str, str]]:
    """The operations in a binary, each up to the brace that closes it."""
    for start in re.finditer(rb"(?:query|mutation) (\w+) (?:\([^)]*\) )?\{\n", core):
        depth, at = 1, start.end()
        while depth and at < start.end() + 20_000:
            depth += {123: 1, 125: -1}.get(core[at], 0)
            at += 1
        text = core[start.start() : at].decode("ascii", "replace")
        if depth == 0 and "..." not in text:
            yield start[1].decode(), text


SAME = ["RESUME_STATUS", "UPSERT", "REWIND", "CREATE_FILES", "FILES", "RUNS", "HISTORY_PAGE", "VIEWER"]


@pytest.mark.parametrize("name", SAME)
def test_nothing_is_asked_for_that_the_sdk_does_not_ask_for(theirs: dict[str, set[tuple[str, ...]]], name: str) -> None:
    found = re.search(r"(?:query|mutation)\s+(\w+)", DOCUMENTS[name])
    assert found
    assert paths(DOCUMENTS[name]) <= theirs[found[1]]


@pytest.mark.parametrize("name", ["RUN", "LAST_STEP"])
def test_a_run_is_asked_for_what_a_list_of_runs_gives(theirs: dict[str, set[tuple[str, ...]]], name: str) -> None:
    fields = {path for path in paths(DOCUMENTS[name]) if len(path) > 2 and not path[-1].endswith(":")}
    assert fields
    assert fields <= theirs["Run"]
