"""Who may do what, from where, and what the log says of it."""

from __future__ import annotations

import logging
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from jupyter_resume import cli
from jupyter_resume.errors import InvalidInput
from jupyter_resume.server import serving
from jupyter_resume.server.access import Keys, client
from jupyter_resume.server.limits import Limits
from jupyter_resume.server.refusals import Refusal

from .serving import KEY, UPSERT, served


def test_keys_are_made_listed_and_revoked_by_the_command_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve", "--make-key", "ann", "--entity", "team"]) == 0
    key = capsys.readouterr().out.split()[-1]
    assert len(key) == 40
    assert cli.main(["serve", "--make-key", "bob", "--role", "read"]) == 0
    capsys.readouterr()
    assert cli.main(["serve", "--list-keys"]) == 0
    listed = capsys.readouterr().out
    assert listed.startswith("ann\twrite\tentity team")
    assert key not in listed
    assert cli.main(["serve", "--revoke-key", "ann"]) == 0
    assert cli.main(["serve", "--revoke-key", "ann"]) == 1
    assert cli.main(["serve", "--make-key", "bob"]) == 1
    assert cli.main(["serve", "--make-key", "a/b"]) == 1


def test_keys_are_stored_hashed_and_for_their_owner_alone(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    text = keys.make("ann")
    assert text not in keys.file.read_text()
    assert keys.file.stat().st_mode & 0o777 == 0o600
    assert keys.find(text) is not None
    with pytest.raises(InvalidInput):
        keys.make("ann")


@pytest.mark.parametrize(
    "said", [None, "", "Basic", "Basic !!!", "Basic OnJ1YmJpc2g=", "Bearer ", "Digest x", f"Bearer {KEY[:-1]}x"]
)
def test_a_wrong_or_missing_key_is_401(tmp_path: Path, said: str | None) -> None:
    keys = Keys(tmp_path / "keys.json")
    keys.make("ann")
    with pytest.raises(Refusal) as refused:
        client(keys, said, trusting=True)
    assert refused.value.status == 401


def test_a_key_of_the_wrong_form_is_refused_even_where_any_is_taken(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "keys.json")
    with pytest.raises(Refusal):
        client(keys, "Bearer short", trusting=True)
    assert client(keys, f"Bearer {KEY}", trusting=True).entity == "local"
    with pytest.raises(Refusal):
        client(keys, f"Bearer {KEY}", trusting=False)


def test_entities_and_roles_are_kept_apart(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "home" / "server" / "keys.json")
    writes, reads = keys.make("ann", entity="team"), keys.make("bob", role="read", entity="team")
    other, every = keys.make("eve", entity="other"), keys.make("root", entity="*")
    with served(tmp_path / "home") as server:
        ann = server.client(key=writes, entity="team")
        assert ann.query("{ viewer { entity username } }")["viewer"] == {"entity": "team", "username": "ann"}
        ann.upsert("r")
        assert ann.rows("r", 0, [{"_step": 0}]).status_code == 200
        assert ann.upload("r", "f", b"x").status_code == 200

        bob = server.client(key=reads, entity="team")
        assert bob.resume("r") is not None
        assert bob.download("r", "f").content == b"x"
        assert bob.ask(UPSERT, input={"name": "r", "modelName": "demo"})["status"] == 403
        assert bob.stream("r").status_code == 403
        asked = 'files(names: ["f"]) { edges { node { url(upload: true) } } }'
        assert bob.ask(f'{{ project(name: "demo") {{ run(name: "r") {{ {asked} }} }} }}')["status"] == 403

        eve = server.client(key=other, entity="team")
        assert eve.ask('{ project(name: "demo", entityName: "team") { name } }')["status"] == 403
        assert eve.ask(UPSERT, input={"name": "r", "modelName": "demo", "entityName": "team"})["status"] == 403
        assert eve.ask(UPSERT, input={"id": ann.upsert("r")["bucket"]["id"]})["status"] == 403
        assert (eve.stream("r").status_code, eve.download("r", "f").status_code) == (403, 403)
        assert eve.get("/team/demo/runs/r").status_code == 403
        assert "team" not in eve.get("/").text

        assert server.client(key=every, entity="team").stream("r").status_code == 200

        keys.revoke("ann")
        assert ann.stream("r").status_code == 401
        assert server.client(key=None).get("/team/demo/runs/r").status_code == 401
        browser = server.client(key=None).get("/", headers={"Accept": "text/html"})
        assert browser.headers["WWW-Authenticate"].startswith("Basic")
        server.stop()
        log = Path(server.log.name).read_text()
    assert not [secret for secret in (writes, reads, other, every, "Basic ") if secret in log]
    assert "POST /files/team/demo/r/file_stream 200" in log


def test_a_log_line_shows_no_signature(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        client = server.client()
        client.upsert("r")
        url = client.upload_url("r", "f")
        requests.put(url, data=b"x", timeout=10)
        server.stop()
        log = Path(server.log.name).read_text()
    assert url.rpartition("s=")[2] not in log
    assert "PUT /storage/local/demo/r/f 200" in log


def test_it_does_not_listen_elsewhere_without_keys(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        assert cli.main(["serve", "--host", host, "--port", "0"]) == 1
        assert "--make-key" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["--tls-cert", "nowhere.pem"], "--tls-cert and --tls-key cannot be used (No such file or directory)"),
        (["--tls-cert", __file__], "--tls-cert and --tls-key cannot be used"),
        (["--tls-key", "nowhere.pem"], "--tls-key is of no use without --tls-cert"),
        (["--home", f"{__file__}/store"], "cannot be written to (Not a directory): give another folder with --home"),
        (["--home", f"{__file__}/store", "--make-key", "ann"], "give another folder with --home"),
        (["--make-key", ""], "key's name"),
        (["--revoke-key", ""], "There is no key named ''"),
    ],
)
def test_what_keeps_it_from_serving_is_one_line(
    asked: list[str], said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["serve", "--port", "0", *asked]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1


def test_serving_leaves_the_handlers_of_others_open(home: Path) -> None:
    closed: list[bool] = []

    class Handler(logging.Handler):
        def close(self) -> None:
            closed.append(True)
            super().close()

    handler = Handler()
    assert cli.main(["serve", "--port", "0", "--tls-cert", "nowhere.pem"]) == 1
    assert not closed
    handler.close()


def test_a_server_on_all_addresses_is_named_as_clients_reach_it(tmp_path: Path) -> None:
    with socket.socket() as port:
        port.bind(("127.0.0.1", 0))
        number = port.getsockname()[1]
        assert serving._named("0.0.0.0", port) == f"{socket.gethostname()}:{number}"
        assert serving._named("::1", port) == f"[::1]:{number}"


def test_a_port_that_is_taken_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert cli.main(["serve", "--port", str(taken.getsockname()[1])]) == 1
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example:80", "a b", ""])
def test_another_name_for_a_server_without_keys_is_refused(tmp_path: Path, host: str) -> None:
    with served(tmp_path / "home") as server:
        answer = server.client(key=None).get("/", headers={"Host": host})
        assert answer.status_code in (400, 403)


def test_with_keys_a_proxy_may_give_it_another_name(tmp_path: Path) -> None:
    key = Keys(tmp_path / "home" / "server" / "keys.json").make("ann")
    with served(tmp_path / "home", "--url", "https://runs.example/") as server:
        client = server.client(key=key)
        client.session.headers["Host"] = "internal:80"
        client.upsert("r")
        assert client.upload_url("r", "f").startswith("https://runs.example/storage/")
        own = client.post("/graphql", json={"query": "{ viewer { id } }"}, headers={"Origin": "https://runs.example"})
        assert own.status_code == 200


def test_a_page_of_another_site_cannot_use_a_browser_that_has_the_key(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        client = server.client()
        answer = client.post(
            "/graphql", json={"query": "{ viewer { id } }"}, headers={"Origin": "https://evil.example"}
        )
        assert answer.status_code == 403
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert (
            client.post("/graphql", json={"query": "{ viewer { id } }"}, headers={"Origin": server.url}).status_code
            == 200
        )


def test_a_key_that_asks_too_often_is_told_to_wait() -> None:
    now = [0.0]
    limits = Limits(rate=10, clock=lambda: now[0])
    for _ in range(20):
        limits.check("ann")
    with pytest.raises(Refusal) as refused:
        limits.check("ann")
    assert (refused.value.status, refused.value.retry_after) == (429, 1)
    limits.check("bob")
    now[0] += 1
    limits.check("ann")


def test_an_address_that_guesses_keys_is_told_to_wait(tmp_path: Path) -> None:
    keys = Keys(tmp_path / "home" / "server" / "keys.json")
    good = keys.make("ann")
    with served(tmp_path / "home") as server:
        statuses = [server.client(key="f" * 40).stream("r").status_code for _ in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        assert server.client(key=good).resume("r") is None  # a right one from there is taken


def test_a_rate_limit_answers_429_with_retry_after(tmp_path: Path) -> None:
    with served(tmp_path / "home", "--rate", "2") as server:
        client = server.client()
        answers = [client.post("/graphql", json={"query": "{ viewer { id } }"}) for _ in range(8)]
        assert 429 in [answer.status_code for answer in answers]
        assert next(answer for answer in answers if answer.status_code == 429).headers["Retry-After"] == "1"


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_it_serves_over_tls(tmp_path: Path) -> None:
    make = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext"
    subprocess.run([*make.split(), "subjectAltName=IP:127.0.0.1"], cwd=tmp_path, check=True, capture_output=True)
    with served(
        tmp_path / "home", "--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem")
    ) as server:
        assert server.url.startswith("https://")
        client = server.client()
        client.session.verify = str(tmp_path / "cert.pem")
        client.upsert("r")
        assert client.upload_url("r", "f").startswith("https://")


def test_it_says_what_a_client_needs_and_leaves_on_sigterm(tmp_path: Path) -> None:
    with served(tmp_path / "home") as server:
        client = server.client()
        client.upsert("r")
        client.rows("r", 0, [{"_step": 0}])
        assert server.process.stdout is not None
        said = [server.process.stdout.readline() for _ in range(2)]
        assert said[0].strip() == f"export WANDB_BASE_URL={server.url}"
        assert said[1].strip().startswith("export WANDB_API_KEY=")
        assert server.stop(signal.SIGTERM) == 0
        assert "Traceback" not in Path(server.log.name).read_text()
    with served(tmp_path / "home") as server:
        again = server.client()
        assert len(again.history("r")) == 1
        assert again.run("r", "state")["state"] == "running"  # it was the server that went away


def test_the_server_is_not_imported_by_the_other_commands() -> None:
    code = "import sys; from jupyter_resume import cli; cli._parser(); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"graphql", "starlette", "uvicorn", "jinja2", "jupyter_resume.server"} & set(loaded)


def test_without_the_extra_the_command_says_what_to_install(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("jupyter_resume.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert cli.main(["serve"]) == 1
    assert "pip install 'jupyter-resume[server]'" in capsys.readouterr().err
