"""Where API keys come from and go to."""

from __future__ import annotations

import netrc
import os
import re
import stat
from pathlib import Path

import pytest

from jupyter_resume import keys
from jupyter_resume.errors import InvalidInput, StoreUnwritable

KEY = "0123456789abcdef0123456789abcdef01234567"
CLOUD = "https://api.wandb.ai"


@pytest.fixture(autouse=True)
def home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of this test's own."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    monkeypatch.delenv("NETRC", raising=False)
    keys._told.clear()
    return folder


# Addresses


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("https://api.wandb.ai/", CLOUD),
        (" https://API.wandb.ai ", CLOUD),
        ("HTTP://Localhost:8642/Path//", "http://localhost:8642/Path"),
        ("http://[::1]:80", "http://[::1]:80"),
        ("https://wandb.example.com", "https://wandb.example.com"),
        ("http://10.0.0.1:8080/a/b", "http://10.0.0.1:8080/a/b"),
    ],
)
def test_an_address_is_read_as_it_is_meant(given: str, read: str) -> None:
    assert keys.read_base_url(given) == read


@pytest.mark.parametrize(
    "given",
    ["", "  ", None, 3, "api.wandb.ai", "ftp://h", "file:///x", "http://", "http:///x", "https://h:port", "https://h:99999",
     "https://[::1", "https://h/x?a=b", "https://h/x?", "https://h#x", "https://h/a b", "https://h/\nX", "https://hé",
     "https://h\\x", "javascript:alert(1)", "https://wandb.ai", "https://app.wandb.ai/x", "http://api.wandb.ai"],
)  # fmt: skip
def test_what_is_no_address_is_refused(given: object) -> None:
    with pytest.raises(InvalidInput, match="address"):
        keys.read_base_url(given)


@pytest.mark.parametrize(
    "given", [f"https://api:{KEY}@h", f"https://{KEY}@h:80/x", f"https://a:{KEY}@h:x", f"ftp://a:{KEY}@h"]
)
def test_an_address_with_a_password_is_refused_without_repeating_it(given: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        keys.read_base_url(given)
    assert KEY not in str(caught.value)


# The form of a key


@pytest.mark.parametrize("key", ["x", KEY, f"local-{KEY}", f" {KEY}\n", "a.b-c_d"])
def test_a_key_is_one_word(key: str) -> None:
    assert keys.check_form(key) == key.strip()


@pytest.mark.parametrize(
    "key", ["", " ", None, 7, f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}\x1b", f"{KEY}\u00a0x", "\x00"]
)
def test_what_can_be_no_key_is_refused_without_repeating_it(key: object) -> None:
    with pytest.raises(InvalidInput) as caught:
        keys.check_form(key)
    assert KEY not in str(caught.value)


# Finding


def entry(machine: str, key: str = KEY) -> str:
    return f"machine {machine}\n  login user\n  password {key}\n"


def test_the_environment_comes_first(home_folder: Path) -> None:
    (home_folder / ".netrc").write_text(entry("api.wandb.ai", "other"))
    assert keys.find(CLOUD, {"WANDB_API_KEY": f" {KEY}\n"}) == KEY
    assert keys.find(CLOUD, {"WANDB_API_KEY": " "}) == "other"


def test_nothing_is_found_where_nothing_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert keys.find(CLOUD, {}) is None
    assert keys.find(CLOUD, {"NETRC": "/nowhere/at/all"}) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("base_url", "machine"),
    [
        (CLOUD, "api.wandb.ai"),
        ("http://127.0.0.1:8642", "127.0.0.1:8642"),  # as SDK 0.31 writes it
        ("http://127.0.0.1:8642", "127.0.0.1"),  # as older ones do
        ("http://localhost:8642/wandb", "localhost:8642"),
        ("https://api.forge.coreweave.com", "api.wandb.ai"),  # two names of one server
        (CLOUD, "api.forge.coreweave.com"),
    ],
)
def test_a_server_is_found_by_the_names_that_sdks_give_it(home_folder: Path, base_url: str, machine: str) -> None:
    (home_folder / ".netrc").write_text(entry("other", "no") + entry(machine) + "default login a password no\n")
    assert keys.find(base_url, {}) == KEY


def test_the_best_name_wins(home_folder: Path) -> None:
    text = entry("h", "host") + entry("h:1", "port") + entry("h:2", "")
    (home_folder / ".netrc").write_text(text.replace("password \n", 'password ""\n'))
    assert [keys.find(f"http://h:{port}", {}) for port in (1, 2, 3)] == ["port", "host", "host"]


def test_the_password_of_a_default_entry_is_not_given_away(home_folder: Path) -> None:
    (home_folder / ".netrc").write_text(f"default login me password {KEY}\n")
    assert keys.find(CLOUD, {}) is None
    assert keys.find("http://default:80", {}) is None


def test_netrc_may_stand_elsewhere(home_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text(entry("api.wandb.ai"))
    (home_folder / ".netrc").write_text(entry("api.wandb.ai", "no"))
    assert keys.find(CLOUD, {"NETRC": str(tmp_path / "elsewhere")}) == KEY
    (home_folder / ".netrc").rename(home_folder / "_netrc")
    assert keys.find(CLOUD, {}) == "no"
    assert keys.find(CLOUD, {"NETRC": "~/_netrc"}) == "no"


@pytest.mark.parametrize("content", [b"machine\n", f"nonsense {KEY}\n".encode(), b"\xff\xfe\x00machine", b'machine "h'])
def test_a_netrc_that_makes_no_sense_is_told_once_in_one_line(
    home_folder: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (home_folder / ".netrc").write_bytes(content)
    found = [keys.find(CLOUD, {}) for _ in range(3)]
    said = capsys.readouterr().err
    assert found == [None] * 3
    assert said.count("\n") <= 1
    assert KEY not in said
    if said:  # some versions of Python read over it
        assert "WANDB_API_KEY" in said


def test_a_netrc_that_is_a_folder_is_told(home_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home_folder / ".netrc").mkdir()
    assert keys.find(CLOUD, {}) is None
    assert "no API key could be read" in capsys.readouterr().err


# Keeping


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_netrc_is_for_its_owner_alone(home_folder: Path) -> None:
    before = os.umask(0)
    try:
        assert keys.store("http://127.0.0.1:8642/x", KEY, {}) == home_folder / ".netrc"
    finally:
        os.umask(before)
    path = home_folder / ".netrc"
    assert mode(path) == 0o600
    assert keys.find("http://127.0.0.1:8642", {}) == KEY
    assert netrc.netrc(path).authenticators("127.0.0.1:8642") == ("user", "", KEY)
    assert [found.name for found in home_folder.iterdir()] == [".netrc"]


def test_one_that_others_could_read_is_closed(home_folder: Path) -> None:
    path = home_folder / ".netrc"
    path.write_text(entry("h", "x"))
    path.chmod(0o644)
    keys.store(CLOUD, KEY, {})
    assert mode(path) == 0o600


KEPT = """# a comment with machine api.wandb.ai in it
machine other login me password "with \\" spaces"  # why
macdef init
machine api.wandb.ai
password not-this

machine\tapi.wandb.ai   # mine
\tlogin  someone
# between
\tpassword OLD
\taccount x
machine api.wandb.ai.evil login a password b\r
machine last login machine password password
default login anonymous password mail@h
"""


def test_only_the_password_of_the_servers_entry_changes(home_folder: Path) -> None:
    path = home_folder / ".netrc"
    path.write_bytes(KEPT.encode() + b"# \xff\n")
    keys.store(CLOUD, KEY, {})
    assert path.read_bytes() == KEPT.replace("OLD", KEY).encode() + b"# \xff\n"


def test_a_new_entry_stands_before_the_default_one(home_folder: Path) -> None:
    path = home_folder / ".netrc"
    path.write_bytes(KEPT.encode())
    keys.store("http://new:1", KEY, {})
    default = "default login anonymous password mail@h\n"
    assert path.read_bytes().decode() == KEPT.replace(default, entry("new:1") + default)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", entry("h:1")),
        ("machine a login b password c", "machine a login b password c\n" + entry("h:1")),
        ("machine h:1", f"machine h:1\n  password {KEY}"),
        ("machine h:1 login u\nmachine b", f"machine h:1 login u\n  password {KEY}\nmachine b"),
        (
            "machine h:1 password a\nmachine h:1 password b\n",
            f"machine h:1 password {KEY}\nmachine h:1 password {KEY}\n",
        ),
        ('machine "h:1" password "a b"', f'machine "h:1" password {KEY}'),
        ("machine", "machine\n" + entry("h:1")),
        ("machine h:1 password", "machine h:1 password " + KEY),
        ("machine h password a", "machine h password a\n" + entry("h:1")),
    ],
)
def test_odd_files_are_kept_too(home_folder: Path, before: str, after: str) -> None:
    path = home_folder / ".netrc"
    path.write_text(before)
    keys.store("http://h:1", KEY, {})
    assert path.read_text() == after


def test_keeping_a_key_twice_changes_nothing(home_folder: Path) -> None:
    path = home_folder / ".netrc"
    keys.store(CLOUD, KEY, {})
    once = path.read_bytes()
    keys.store(CLOUD, KEY, {})
    assert path.read_bytes() == once


def test_a_link_stays_one(home_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    real = tmp_path / "dotfiles" / "netrc"
    real.write_text(entry("other", "x"))
    (home_folder / ".netrc").symlink_to(real)
    keys.store(CLOUD, KEY, {})
    assert (home_folder / ".netrc").is_symlink()
    assert (keys.find(CLOUD, {}), keys.find("http://other", {})) == (KEY, "x")
    assert mode(real) == 0o600


@pytest.mark.parametrize("key", ['a"b', "a'b", "a\\b", "#ab"])
def test_a_key_that_netrc_cannot_hold_is_refused(home_folder: Path, key: str) -> None:
    with pytest.raises(InvalidInput, match="WANDB_API_KEY"):
        keys.store(CLOUD, key, {})
    assert not (home_folder / ".netrc").exists()


def test_a_file_that_cannot_be_written_is_told_and_kept(home_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnwritable, match="could not be kept in") as caught:
        keys.store(CLOUD, KEY, {"NETRC": str(tmp_path / "file" / "netrc")})
    assert KEY not in str(caught.value)


def test_a_write_that_fails_leaves_the_old_file(home_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = home_folder / ".netrc"
    path.write_text(entry("other", "x"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreUnwritable, match="No space left"):
        keys.store(CLOUD, KEY, {})
    assert path.read_text() == entry("other", "x")
    assert [found.name for found in home_folder.iterdir()] == [".netrc"]


def test_the_sdks_names_are_the_ones_looked_for() -> None:
    assert re.fullmatch(r"https://[\w.]+", keys.DEFAULT_BASE_URL)
    assert keys.DEFAULT_BASE_URL.removeprefix("https://") in keys.CLOUD_HOSTS
