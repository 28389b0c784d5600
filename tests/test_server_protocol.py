"""GraphQL in W&B's terms, over HTTP: what each SDK generation asks for, and what it breaks on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from .serving import KEY, Client, Served, served


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("server") / "home", "--quiet") as server:
        yield server


@pytest.fixture
def client(server: Served, request: pytest.FixtureRequest) -> Client:
    """With a project of its own."""
    name = "".join(char if char.isalnum() else "-" for char in request.node.name)
    return server.client(project=name[:100])


def test_a_run_that_does_not_exist_is_null(client: Client) -> None:
    assert client.resume("nope") is None


def test_a_new_run_is_inserted_once(client: Client) -> None:
    made = client.upsert("r", displayName="bright", notes="n", tags=["a"], config={"lr": {"value": 0.1}})
    assert (made["inserted"], made["bucket"]["name"], made["bucket"]["displayName"]) == (True, "r", "bright")
    assert made["bucket"]["project"]["name"] == client.project
    assert made["bucket"]["project"]["entity"]["name"] == "local"
    assert made["bucket"]["historyLineCount"] == 0
    assert client.upsert("r")["inserted"] is False


def test_what_an_upsert_leaves_out_stays(client: Client) -> None:
    client.upsert("r", displayName="d", notes="n", tags=["a"], groupName="g", jobType="j", config={"lr": {"value": 1}})
    client.upsert("r", config={"bs": {"value": 2, "desc": None}})
    said = client.run("r", "displayName notes tags group jobType config")
    assert (said["displayName"], said["notes"], said["tags"], said["group"], said["jobType"]) == (
        "d",
        "n",
        ["a"],
        "g",
        "j",
    )
    values = {key: entry["value"] for key, entry in json.loads(said["config"]).items() if key != "_wandb"}
    assert values == {"lr": 1, "bs": 2}


def test_a_new_config_value_wins_and_old_keys_stay(client: Client) -> None:
    client.upsert("r", config={"lr": {"value": 1}, "old": {"value": 1}})
    client.upsert("r", config={"lr": {"value": 2}})
    config = json.loads(client.run("r", "config")["config"])
    assert (config["lr"]["value"], config["old"]["value"]) == (2, 1)


def test_a_variable_that_is_declared_as_needed_may_be_null(client: Client) -> None:
    query = """mutation UpsertBucket($name: String, $project: String, $entity: String!) {
      upsertBucket(input: {name: $name, modelName: $project, entityName: $entity}) {
        bucket { project { entity { name } } } } }"""
    made = client.query(query, name="r", project=client.project, entity=None)
    assert made["upsertBucket"]["bucket"]["project"]["entity"]["name"] == "local"
    said = client.ask("mutation($files: [ID!]!) { deleteFiles(input: {files: $files}) { success } }", files=None)
    assert (said["status"], bool(said["errors"][0]["message"])) == (200, True)


def test_a_run_without_a_name_gets_one(client: Client) -> None:
    made = client.query(
        "mutation($p: String) { upsertBucket(input: {modelName: $p}) { bucket { name } } }", p=client.project
    )
    assert len(made["upsertBucket"]["bucket"]["name"]) == 8


def test_a_run_is_addressed_by_its_storage_id_too(client: Client) -> None:
    storage_id = client.upsert("r")["bucket"]["id"]
    query = "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted bucket { name notes } } }"
    found = client.query(query, i={"id": storage_id, "name": None, "notes": "by id"})["upsertBucket"]
    assert found == {"inserted": False, "bucket": {"name": "r", "notes": "by id"}}


def test_the_resume_query_has_all_that_a_resume_needs(client: Client) -> None:
    client.upsert(
        "r", config={"lr": {"value": 0.1}, "_wandb": {"value": {"t": {"4": "3.11"}, "cli_version": "0.31.0"}}}
    )
    client.stream(
        "r",
        {
            "files": {
                "wandb-history.jsonl": {"offset": 0, "content": ['{"_step":0,"loss":1}', '{"_step":1,"loss":0.5}']},
                "wandb-events.jsonl": {"offset": 0, "content": ['{"_runtime":3,"cpu":1}']},
                "wandb-summary.json": {"offset": 0, "content": ['{"_step":1,"loss":0.5}']},
                "output.log": {"offset": 0, "content": ["a", "b", "c"]},
            }
        },
    )
    bucket = client.resume("r")
    assert bucket is not None
    assert (bucket["historyLineCount"], bucket["eventsLineCount"], bucket["logLineCount"]) == (2, 1, 3)
    assert bucket["historyTail"] == [{"_step": 1, "loss": 0.5}]
    assert bucket["eventsTail"] == [{"_runtime": 3, "cpu": 1}]
    assert bucket["summaryMetrics"] == {"_step": 1, "loss": 0.5}
    assert bucket["wandbConfig"] == {"t": {"4": "3.11"}}
    assert bucket["config"]["_wandb"]["value"]["cli_version"] == "0.31.0"
    assert (bucket["tags"], bucket["notes"]) == ([], None)


def test_the_tails_of_an_empty_run_are_empty_lists_and_never_null(client: Client) -> None:
    client.upsert("r")
    bucket = client.resume("r")
    assert bucket is not None
    assert (bucket["historyTail"], bucket["eventsTail"], bucket["summaryMetrics"]) == ([], [], {})


def test_the_wandb_version_that_old_sdks_upload_is_stripped_and_t_is_there_all_the_same(client: Client) -> None:
    client.upsert("r", config={"wandb_version": 1, "_wandb": {"desc": None, "value": {"cli_version": "0.8.36"}}})
    bucket = client.resume("r")
    assert bucket is not None
    assert "wandb_version" not in bucket["config"]
    assert "t" in bucket["wandbConfig"]
    assert "t" in bucket["config"]["_wandb"]["value"]


def test_t_survives_an_update_that_leaves_it_out(client: Client) -> None:
    client.upsert("r", config={"_wandb": {"value": {"t": {"4": "3.11"}}}})
    client.upsert("r", config={"_wandb": {"value": {"m": []}}})
    bucket = client.resume("r")
    assert bucket is not None
    assert bucket["wandbConfig"] == {"t": {"4": "3.11"}}


def starting_step(bucket: dict[str, Any]) -> int:
    """As SDK 0.31.0 computes it."""
    tail = bucket["historyTail"][-1].get("_step", -1) if bucket["historyTail"] else -1
    return max(bucket["summaryMetrics"].get("_step", -1), tail, bucket["historyLineCount"] - 1) + 1


@pytest.mark.parametrize(
    ("rows", "summary", "expected"),
    [
        ([0, 1, 2], {"_step": 2}, 3),
        ([0, 1, *[2] * 8], {"_step": 2}, 10),
        ([], {"_step": 7}, 8),
        ([0, 3], {"_step": 9}, 10),
        ([0, 500], {}, 501),
    ],
    ids=["dense", "stale steps", "summary only", "summary ahead", "sparse, no summary"],
)
def test_the_step_to_resume_at(
    client: Client, server: Served, rows: list[int], summary: dict[str, Any], expected: int
) -> None:
    client.upsert("r")
    client.rows("r", 0, [{"_step": step, "x": n} for n, step in enumerate(rows)])
    client.stream("r", {"files": {"wandb-summary.json": {"offset": 0, "content": [json.dumps(summary)]}}})
    client.stream("r", {"complete": True, "exitcode": 0})
    bucket = client.resume("r")
    assert bucket is not None
    assert starting_step(bucket) == expected
    assert bucket["historyLineCount"] == len(rows)
    from jupyter_resume.identity import RunPath
    from jupyter_resume.store.home import Store

    tail = Store(server.home).record(RunPath("local", client.project, "r")).tail()
    assert tail is not None
    assert tail.point.next_step == expected  # a local init() goes on there too


def test_an_unknown_field_is_an_error_that_names_it_with_status_200(client: Client) -> None:
    said = client.ask("query Q($p: String) { project(name: $p) { name laserBeams } }", p="x")
    assert said["status"] == 200
    assert said["data"] is None
    assert "laserBeams" in said["errors"][0]["message"]


def test_aliases_fragments_and_typenames_work(client: Client) -> None:
    client.upsert("r")
    query = """
    #graphql
    query Anything($p: String!) { a: project(name: $p) { ...P }
      b: model(name: $p) { other: bucket(name: "r") { ...R } } }
    fragment P on Project { __typename run(name: "r") { ...R } }
    fragment R on Run { __typename id: name }"""
    run = {"__typename": "Run", "id": "r"}
    assert client.query(query, p=client.project) == {"a": {"__typename": "Project", "run": run}, "b": {"other": run}}


def test_the_four_queries_of_0_8_called_model_answer_each_its_own(client: Client) -> None:
    client.upsert("r")
    client.upload("r", "there.txt", b"hello")
    project = client.project
    resume = """query Model($project: String!, $entity: String, $name: String!) { model(name: $project,
      entityName: $entity) {
      id name entity { id name } bucket(name: $name, missingOk: true) { id name historyLineCount historyTail } } }"""
    assert client.query(resume, project=project, entity="local", name="r")["model"]["bucket"]["historyLineCount"] == 0
    stopped = """query Model($projectName: String, $entityName: String, $runId: String!) {
      project(name: $projectName, entityName: $entityName) { run(name: $runId) { stopped } } }"""
    assert client.query(stopped, projectName=project, entityName="local", runId="r") == {
        "project": {"run": {"stopped": False}}
    }
    urls = """query Model($name: String!, $files: [String]!, $entity: String!, $run: String!, $description: String) {
      model(name: $name, entityName: $entity) { bucket(name: $run, desc: $description) { id files(names: $files) {
      uploadHeaders edges { node { name url(upload: true) updatedAt } } } } } }"""
    found = client.query(
        urls, name=project, entity="local", run="r", description=None, files=["a.txt", "___batch_archive_1.tgz"]
    )
    files = found["model"]["bucket"]["files"]
    assert files["uploadHeaders"] == []
    assert [edge["node"]["name"] for edge in files["edges"]] == ["a.txt", "___batch_archive_1.tgz"]
    assert all("/storage/" in edge["node"]["url"] for edge in files["edges"])
    download = """query Model($name: String!, $fileName: String!, $entity: String!, $run: String!) {
      model(name: $name, entityName: $entity) { bucket(name: $run) { files(names: [$fileName]) { edges { node {
      name url md5 updatedAt } } } } } }"""
    node = client.query(download, name=project, entity="local", run="r", fileName="there.txt")["model"]["bucket"][
        "files"
    ]["edges"][0]
    assert client.get(node["node"]["url"]).content == b"hello"


def test_an_unused_variable_is_no_error(client: Client) -> None:
    assert (
        client.query("query Q($unused: String, $f: [String] = []) { viewer { entity } }", f=None)["viewer"]["entity"]
        == "local"
    )


@pytest.mark.parametrize("text", ["query", "{", "{ viewer { id }", "mutation { nope }", "", "{" * 5000])
def test_malformed_documents_are_errors_with_a_message(client: Client, text: str) -> None:
    said = client.ask(text)
    assert said["status"] == 200
    assert said["errors"][0]["message"]


def test_introspection_has_lists_and_never_null(client: Client) -> None:
    query = """query ProbeServerCapabilities { QueryType: __type(name: "Query") { ...fieldData }
      MutationType: __type(name: "Mutation") { ...fieldData } ServerInfoType: __type(name: "ServerInfo") {
      ...fieldData }
      Unknown: __type(name: "ServerSettings") { name ...fieldData inputFields { name } }
      Input: __type(name: "UpsertBucketInput") { inputFields { name } fields { name } } }
      fragment fieldData on __Type { fields { name } }"""
    found = client.query(query)
    assert "viewer" in [field["name"] for field in found["QueryType"]["fields"]]
    assert found["Unknown"] == {"name": None, "fields": [], "inputFields": []}
    assert "config" in [field["name"] for field in found["Input"]["inputFields"]]
    assert found["Input"]["fields"] == []


def test_the_viewer_and_the_server_introduce_themselves(client: Client) -> None:
    found = client.query(
        "{ viewer { id entity username email flags teams { edges { node { name } } } } serverInfo { cliVersionInfo "
        "features { name isEnabled } latestLocalVersionInfo { outOfDate } } "
        'entity(name: "local") { organization { name } } }'
    )
    assert found["viewer"]["entity"] == "local"
    assert json.loads(found["viewer"]["flags"]) == {}
    assert found["serverInfo"]["features"] == []
    assert found["entity"] == {"organization": None}


def test_sdk_0_8_writes_no_entity_as_none(client: Client) -> None:
    client.upsert("r")
    query = 'query Run($p: String!, $e: String!) { project(name: $p, entityName: $e) { run(name: "r") { name } } }'
    assert client.query(query, p=client.project, e="None")["project"]["run"] == {"name": "r"}


def test_runs_are_filtered_ordered_and_paged(client: Client) -> None:
    for n in range(5):
        client.upsert(
            f"r{n}", config={"lr": {"value": n / 10}}, tags=["even"] if n % 2 == 0 else [], summaryMetrics={"loss": -n}
        )
    client.stream("r4", {"complete": True, "exitcode": 0})
    query = """query Runs($p: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString) {
      project(name: $p) { internalId runCount(filters: $filters) readOnly runs(filters: $filters, after: $cursor,
      first: $perPage, order: $order) { edges { node { projectId name } cursor } pageInfo { endCursor
      hasNextPage } } } }"""

    def names(**asked: Any) -> list[str]:
        if isinstance(asked.get("filters"), dict):
            asked["filters"] = json.dumps(asked["filters"])
        project = client.query(query, p=client.project, **asked)["project"]
        assert int(project["internalId"]) > 0
        return [edge["node"]["name"] for edge in project["runs"]["edges"]]

    assert names() == ["r4", "r3", "r2", "r1", "r0"]
    assert names(order="+created_at") == ["r0", "r1", "r2", "r3", "r4"]
    assert names(order="+summary_metrics.loss") == ["r4", "r3", "r2", "r1", "r0"]
    assert names(order="-config.lr.value", perPage=2) == ["r4", "r3"]
    assert names(filters={"state": "finished"}) == ["r4"]
    assert names(filters={"config.lr": 0.1}) == ["r1"]
    assert names(filters={"config.lr.value": {"$gte": 0.2, "$lt": 0.4}}, order="+created_at") == ["r2", "r3"]
    assert names(filters={"tags": {"$in": ["even"]}}, order="+created_at") == ["r0", "r2", "r4"]
    assert names(filters={"$or": [{"display_name": "r0"}, {"summary_metrics.loss": -3}]}) == ["r3", "r0"]
    assert names(filters={"display_name": {"$regex": "[34]"}, "state": {"$ne": "finished"}}) == ["r3"]
    assert names(filters={"created_at": {"$gt": "2000-01-01T00:00:00Z"}, "name": {"$nin": ["r0"]}}) == [
        "r4",
        "r3",
        "r2",
        "r1",
    ]
    first = client.query(query, p=client.project, perPage=2)["project"]["runs"]
    assert first["pageInfo"]["hasNextPage"] is True
    assert names(perPage=2, cursor=first["pageInfo"]["endCursor"]) == ["r2", "r1"]
    assert client.ask(query, p=client.project, filters='{"x": {"$near": 1}}')["status"] == 400
    assert client.ask(query, p=client.project, filters="[")["status"] == 400


def test_projects_are_listed(client: Client) -> None:
    client.upsert("r")
    found = client.query(
        "{ models(first: 1000) { edges { node { id name entityName createdAt isBenchmark } } pageInfo { endCursor } } }"
    )
    nodes = {edge["node"]["name"]: edge["node"] for edge in found["models"]["edges"]}
    assert nodes[client.project]["createdAt"].startswith("20")


def test_history_is_asked_by_steps_by_samples_and_by_keys(client: Client) -> None:
    client.upsert("r")
    client.rows("r", 0, [{"_step": n, "loss": n, **({"acc": n} if n % 10 == 0 else {})} for n in range(1000)])
    page = "history(minStep: 10, maxStep: 13, samples: 1000)"
    assert [json.loads(text)["_step"] for text in client.run("r", page)["history"]] == [10, 11, 12]
    assert len(client.run("r", "history(samples: 50)")["history"]) == 50

    def sampled(**spec: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = client.run("r", f"sampledHistory(specs: [{json.dumps(json.dumps(spec))}])")[
            "sampledHistory"
        ][0]
        return found

    assert len(sampled(keys=["_step", "acc"], samples=1000)) == 100
    assert sampled(keys=["_step", "loss", "_step"], minStep=0, maxStep=6, samples=7)[-1] == {"_step": 6, "loss": 6}
    assert len(sampled(keys=["loss"], minStep=0, maxStep=100, samples=100)) == 100
    found = client.run("r", 'historyKeys parquetHistory(liveKeys: ["loss"]) { parquetUrls liveData }')
    assert found["historyKeys"]["lastStep"] == 999
    assert found["parquetHistory"] == {"parquetUrls": [], "liveData": [{"_step": 0}]}


def test_output_is_read_by_pages_and_from_the_end(client: Client) -> None:
    client.upsert("r")
    lines = [f"2026-11-21T17:07:39.517384 line {n}" for n in range(10)] + ["ERROR 2026-11-21T17:07:39 bad", "plain"]
    client.stream("r", {"files": {"output.log": {"offset": 0, "content": lines}}})
    fields = "edges { node { number timestamp level line } } pageInfo { endCursor hasNextPage }"
    page = client.run("r", f"logLineCount logLines(first: 4, useImprovedPagination: true) {{ {fields} }}")
    assert page["logLineCount"] == 12
    assert [edge["node"]["line"] for edge in page["logLines"]["edges"]] == ["line 0", "line 1", "line 2", "line 3"]
    after = page["logLines"]["pageInfo"]["endCursor"]
    page = client.run("r", f'logLines(first: 4, after: "{after}") {{ {fields} }}')
    assert page["logLines"]["edges"][0]["node"]["number"] == 4
    last = client.run("r", f"logLines(last: 2) {{ {fields} }}")["logLines"]["edges"]
    assert [(edge["node"]["level"], edge["node"]["line"]) for edge in last] == [("error", "bad"), (None, "plain")]


def test_a_run_is_stopped_and_the_flag_is_cleared_when_it_is_resumed(client: Client) -> None:
    storage_id = client.upsert("r", host="vm")["bucket"]["id"]
    assert client.query("mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }", id=storage_id)[
        "stopRun"
    ]["success"]
    assert client.stream("r").json()["stopped"] is True
    client.upsert("r", config={"x": {"value": 1}})  # a change of config by the client that runs
    assert client.run("r", "stopped")["stopped"] is True
    client.stream("r", {"complete": True, "exitcode": 255})
    assert client.run("r", "state")["state"] == "killed"
    client.upsert("r", host="vm", jobProgram="train.py")
    assert client.run("r", "state stopped") == {"state": "running", "stopped": False}
    assert client.stream("r").json()["stopped"] is False


def test_an_edit_from_outside_does_not_set_a_run_running(client: Client) -> None:
    storage_id = client.upsert("r", host="vm")["bucket"]["id"]
    client.stream("r", {"complete": True, "exitcode": 0})
    client.query(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { id } } }",
        i={"id": storage_id, "notes": "x"},
    )
    assert client.run("r", "state notes") == {"state": "finished", "notes": "x"}


def test_a_state_is_set_only_as_the_rules_allow(client: Client) -> None:
    storage_id = client.upsert("r", host="vm")["bucket"]["id"]
    query = "mutation UpdateRunState($input: UpdateRunStateInput!) { updateRunState(input: $input) { success } }"
    assert client.query(query, input={"id": storage_id, "state": "failed"})["updateRunState"]["success"]
    assert client.query(query, input={"id": storage_id, "state": "pending"})["updateRunState"]["success"]
    assert "errors" in client.ask(query, input={"id": storage_id, "state": "finished"})


def test_a_run_is_rewound(client: Client) -> None:
    client.upsert("r")
    client.rows("r", 0, [{"_step": n, "x": "old"} for n in range(5)])
    query = """mutation RewindRun($runName: String!, $project: String, $metricName: String!, $metricValue: Float!) {
      rewindRun(input: {runName: $runName, projectName: $project, metricName: $metricName, metricValue: $metricValue}) {
      rewoundRun { id name displayName config sweepName historyLineCount project { id name entity { id name } } } } }"""
    found = client.query(query, runName="r", project=client.project, metricName="_step", metricValue=1)
    assert found["rewindRun"]["rewoundRun"]["historyLineCount"] == 2
    client.rows("r", 2, [{"_step": 2, "x": "new"}])
    assert [row["x"] for row in client.history("r")] == ["old", "old", "new"]
    nobody = client.query(query, runName="nobody", project=client.project, metricName="_step", metricValue=1)
    assert nobody["rewindRun"]["rewoundRun"] is None


def test_a_deleted_run_is_gone_and_its_folder_is_kept(client: Client, server: Served) -> None:
    storage_id = client.upsert("r")["bucket"]["id"]
    client.query("mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }", id=storage_id)
    assert client.resume("r") is None
    assert list((server.home / "deleted").glob("r-*"))
    assert client.upsert("r")["inserted"] is True


def test_a_dot_in_an_id_becomes_a_dash_and_no_other_run(client: Client) -> None:
    assert client.upsert("lr0.1")["bucket"]["name"] == "lr0-1"
    assert client.rows("lr0.1", 0, [{"_step": 0}]).status_code == 200
    assert client.resume("lr0.1") is not None
    assert client.upsert("lr0.1")["inserted"] is False
    client.upsert("other-run")
    said = client.ask(
        "mutation($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
        i={"name": "other.run", "modelName": client.project},
    )
    assert said["status"] == 400


def test_a_fencing_token_refuses_an_older_session(client: Client) -> None:
    first = client.upsert("r", host="a", fence=True)["bucket"]["fencingToken"]
    assert client.stream("r", headers={"X-Jupyter-Resume-Token": str(first)}).status_code == 200
    second = client.upsert("r", host="b", fence=True)["bucket"]["fencingToken"]
    assert second > first
    refused = client.stream("r", headers={"X-Jupyter-Resume-Token": str(first)})
    assert (refused.status_code, "taken over" in refused.json()["error"]) == (409, True)
    assert client.stream("r", headers={"X-Jupyter-Resume-Token": str(second)}).status_code == 200
    assert client.stream("r").status_code == 200  # an SDK knows of no tokens


def test_nothing_answers_where_nothing_is(client: Client) -> None:
    assert client.post("/sdk/otel/v1/metrics", json={}).status_code == 404
    assert client.post("/oidc/token", json={}).status_code in (404, 405)
    assert client.stream("never-begun").status_code == 404


def test_a_key_may_come_as_bearer(server: Served) -> None:
    bearer = server.client(key=None)
    bearer.session.headers["Authorization"] = f"Bearer {KEY}"
    assert bearer.query("{ viewer { entity } }")["viewer"]["entity"] == "local"
