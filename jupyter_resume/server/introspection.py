"""``__type`` as W&B's SDK needs it: of a type that is not there, and of what a type has not, a list and never null.

SDK 0.13 asks which fields some types have, and breaks on null.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
)

_LISTS = frozenset({"fields", "inputFields", "interfaces", "enumValues", "possibleTypes"})


def complete(document: DocumentNode, operation: OperationDefinitionNode, data: Any) -> Any:
    """The data of an answer, with empty lists for what introspection has null for."""
    if not isinstance(data, dict):
        return data
    fragments = {node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)}
    for asked in _fields(operation.selection_set, fragments):
        if asked.name.value == "__type" and asked.selection_set:
            key = _key(asked)
            found = data.get(key) or {}
            for inner in _fields(asked.selection_set, fragments):
                if found.get(_key(inner)) is None:
                    found[_key(inner)] = [] if inner.name.value in _LISTS else None
            data[key] = found
    return data


def _key(field: FieldNode) -> str:
    return field.alias.value if field.alias else field.name.value


def _fields(selected: SelectionSetNode, fragments: dict[str, FragmentDefinitionNode]) -> Iterator[FieldNode]:
    for node in selected.selections:
        if isinstance(node, FieldNode):
            yield node
        elif isinstance(node, FragmentSpreadNode):
            yield from _fields(fragments[node.name.value].selection_set, fragments)
        elif isinstance(node, InlineFragmentNode):
            yield from _fields(node.selection_set, fragments)
