"""The GraphQL documents that are sent: names, arguments and fields are W&B's."""

from __future__ import annotations

import re
from collections.abc import Iterable

VIEWER = "query Viewer { viewer { id entity username teams { edges { node { name } } } } }"

RESUME_STATUS = """
query RunResumeStatus($project: String, $entity: String, $name: String!) {
  model(name: $project, entityName: $entity) {
    name
    entity { name }
    bucket(name: $name, missingOk: true) {
      id name displayName notes tags config summaryMetrics wandbConfig(keys: ["t"])
      historyLineCount eventsLineCount logLineCount historyTail eventsTail
    }
  }
}"""

UPSERT = """
mutation UpsertBucket(
  $id: String, $name: String, $project: String, $entity: String, $displayName: String, $notes: String,
  $tags: [String!], $groupName: String, $jobType: String, $config: JSONString, $host: String, $program: String
) {
  upsertBucket(input: {
    id: $id, name: $name, modelName: $project, entityName: $entity, displayName: $displayName, notes: $notes,
    tags: $tags, groupName: $groupName, jobType: $jobType, config: $config, host: $host, jobProgram: $program
  }) {
    inserted
    bucket { id name displayName historyLineCount project { name entity { name } } }
  }
}"""

REWIND = """
mutation RewindRun(
  $runName: String!, $entity: String, $project: String, $metricName: String!, $metricValue: Float!
) {
  rewindRun(input: {
    runName: $runName, entityName: $entity, projectName: $project, metricName: $metricName, metricValue: $metricValue
  }) {
    rewoundRun { id name historyLineCount }
  }
}"""

CREATE_FILES = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(input: {entityName: $entity, projectName: $project, runName: $run, files: $files}) {
    runID uploadHeaders files { name uploadUrl }
  }
}"""

# For servers that do not know createRunFiles; here $name is the project.
UPLOAD_URLS = """
query RunUploadUrls($name: String!, $files: [String]!, $entity: String, $run: String!, $description: String) {
  model(name: $name, entityName: $entity) {
    bucket(name: $run, desc: $description) {
      id files(names: $files) { uploadHeaders edges { node { name url(upload: true) updatedAt } } }
    }
  }
}"""

FILES = """
query RunFiles($project: String!, $entity: String!, $name: String!, $fileCursor: String, $fileLimit: Int = 50,
    $fileNames: [String] = []) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      fileCount
      files(names: $fileNames, after: $fileCursor, first: $fileLimit) {
        edges { node { id name url sizeBytes mimetype updatedAt md5 } cursor }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}"""

_RUN = """
fragment RunFragment on Run {
  id name displayName state config summaryMetrics tags notes group jobType createdAt heartbeatAt historyLineCount
  user { name username }
}"""

RUN = (
    """
query Run($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { ...RunFragment } }
}"""
    + _RUN
)

RUNS = (
    """
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String,
    $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    runCount(filters: $filters)
    runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
      edges { node { ...RunFragment } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
    + _RUN
)

LAST_STEP = """
query RunHistoryKeys($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { run(name: $name) { historyKeys summaryMetrics } }
}"""

HISTORY_PAGE = """
query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!,
    $pageSize: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) }
  }
}"""

FULL_HISTORY = """
query RunFullHistory($project: String!, $entity: String!, $name: String!, $samples: Int) {
  project(name: $project, entityName: $entity) { run(name: $name) { history(samples: $samples) } }
}"""

SAMPLED_HISTORY = """
query RunSampledHistory($project: String!, $entity: String!, $name: String!, $specs: [JSONString!]!) {
  project(name: $project, entityName: $entity) { run(name: $name) { sampledHistory(specs: $specs) } }
}"""

# Errors of these fields leave the rest of an answer usable. All others hold what a run is continued by.
DECORATION = frozenset({"displayName", "user", "username", "teams", "mimetype", "updatedAt", "heartbeatAt", "fileCount",
                        "runCount"})  # fmt: skip

# What an answer may lack. A server that is older than a field refuses every document that asks for it.
OPTIONAL = DECORATION | {"tags", "notes", "wandbConfig", "eventsLineCount", "logLineCount", "eventsTail", "inserted",
                         "group", "jobType", "createdAt", "historyKeys", "md5"}  # fmt: skip

_UNKNOWN = re.compile(r"""Cannot query field ["'](\w+)["']""")
_BELOW = re.compile(r"\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}")


def unknown(words: str) -> frozenset[str]:
    """The fields that a server says it does not know, if it can be asked without them."""
    return OPTIONAL.intersection(_UNKNOWN.findall(words))


def without(document: str, fields: Iterable[str]) -> str:
    """A document that does not ask for some fields, nor for what is below them."""
    for name in sorted(fields):
        document = re.sub(rf"(?<![\w$]){name}\b(?!\s*:)(?:\([^()]*\))?(?:\s*{_BELOW.pattern})?", "", document)
    return document
