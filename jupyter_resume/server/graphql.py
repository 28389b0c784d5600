"""GraphQL over POST: a document is parsed and validated against schema.graphql, executed, and answered as W&B does.

A field that the schema lacks is an error that names it, with status 200. A Refusal of a resolver becomes the
status of the answer, so that clients retry what is busy and give up what cannot be right.
"""

from __future__ import annotations

import functools
from importlib import resources
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NonNullTypeNode,
    OperationType,
    VariableDefinitionNode,
    Visitor,
    build_schema,
    execute,
    get_operation_ast,
    parse,
    specified_rules,
    validate,
    visit,
)
from graphql.execution import ExecutionResult
from graphql.validation import NoUnusedFragmentsRule, NoUnusedVariablesRule

from ..errors import ResumeError
from .introspection import complete
from .mutations import Mutation
from .nodes import Asking
from .queries import Query
from .refusals import Refusal, bad, translated

MOST_TEXT = 100_000  # characters of a document
_MOST_TOKENS = 20_000
_RULES = [rule for rule in specified_rules if rule not in (NoUnusedVariablesRule, NoUnusedFragmentsRule)]


@functools.cache
def schema() -> GraphQLSchema:
    """The schema, made from its file."""
    return build_schema(resources.files(__package__).joinpath("schema.graphql").read_text())


class _Relaxed(Visitor):
    """Lets every variable be null: SDK 0.8 declares ``$entity: String!`` and sends none."""

    def enter_variable_definition(self, node: VariableDefinitionNode, *_: Any) -> VariableDefinitionNode | None:
        """Take the exclamation mark off."""
        if not isinstance(node.type, NonNullTypeNode):
            return None
        return VariableDefinitionNode(
            variable=node.variable, type=node.type.type, default_value=node.default_value, directives=node.directives
        )


@functools.lru_cache(maxsize=512)
def _document(text: str) -> DocumentNode | list[GraphQLError]:
    """A document to execute, or what is wrong with it; clients send the same few again and again."""
    try:
        document = parse(text, max_tokens=_MOST_TOKENS)
    except GraphQLError as error:
        return [error]
    except RecursionError:
        return [GraphQLError("The document is nested too deeply.")]
    relaxed: DocumentNode = visit(document, _Relaxed())
    return validate(schema(), document, _RULES) or relaxed


def answer(body: Any, asking: Asking) -> dict[str, Any]:
    """The answer to one request's JSON body. Raises Refusal."""
    if not isinstance(body, dict) or not isinstance(body.get("query"), str):
        raise bad("The body is not a JSON object with a 'query'.")
    variables = body.get("variables")
    if variables is not None and not isinstance(variables, dict):
        raise bad("'variables' is not a JSON object.")
    if len(body["query"]) > MOST_TEXT:
        raise Refusal(413, f"The query is longer than {MOST_TEXT:,} characters.")
    document = _document(body["query"])
    if isinstance(document, list):
        return {"errors": [_told(error) for error in document[:20]], "data": None}
    name = body.get("operationName")
    operation = get_operation_ast(document, name if isinstance(name, str) and name else None)
    if operation is None:
        return {"errors": [{"message": "The document has no operation of that name."}], "data": None}
    root = Mutation(asking) if operation.operation is OperationType.MUTATION else Query(asking)
    named = operation.name.value if operation.name else None
    result = execute(schema(), document, root, variable_values=variables or {}, operation_name=named)
    assert isinstance(result, ExecutionResult)
    for error in result.errors or ():
        if isinstance(error.original_error, (ResumeError, OSError)):
            raise translated(error.original_error)
        if error.original_error is not None and not isinstance(error.original_error, GraphQLError):
            raise error.original_error
    said: dict[str, Any] = {"data": complete(document, operation, result.data)}
    if result.errors:
        said["errors"] = [_told(error) for error in result.errors[:20]]
    return said


def _told(error: GraphQLError) -> dict[str, Any]:
    said: dict[str, Any] = {"message": error.message}
    if error.path:
        said["path"] = error.path
    return said
