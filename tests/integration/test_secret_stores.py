"""Every store keeps the same promises; the encrypted file and the Vault have a few of their own."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec
import pytest

from tests.vault_stand_in import MOUNT, TOKEN, VaultStandIn, vault
from tradewind.chassis.secrets import SecretsError, SecretStore
from tradewind.chassis.secrets.encrypted import EncryptedFile
from tradewind.chassis.secrets.keys import KEY, KEY_FILE, find_key
from tradewind.chassis.secrets.opening import STORE, open_store, with_secrets
from tradewind.chassis.settings import Secret, Setting, Settings, load
from tradewind.stack.kept_secrets import FILE, PLAIN_FILE, Secrets

CANARY = "canary-5f1c-do-not-print"
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@dataclass
class Place:
    """A store, and a way to put something there as its owner would."""

    store: SecretStore
    give: Callable[[str, str], None]
    writable: bool


@pytest.fixture
def stand_in() -> Iterator[VaultStandIn]:
    with vault() as running:
        yield running


@pytest.fixture(params=["file", "mounted", "environment", "vault"])
def place(request: pytest.FixtureRequest, tmp_path: Path, stand_in: VaultStandIn) -> Place:
    environ = {KEY_FILE: str(tmp_path / "elsewhere" / "key"), "VAULT_TOKEN": TOKEN}

    def mount(name: str, value: str) -> None:
        (tmp_path / name).write_text(value + "\n")

    def export(name: str, value: str) -> None:
        environ[f"TRADEWIND_SECRET_{name.upper()}"] = value

    def opened(address: str) -> SecretStore:
        return open_store(address, environ)

    match request.param:
        case "file":
            store = opened(f"file:{tmp_path}/secrets.enc")
            return Place(store, lambda name, value: store.put(name, Secret(value)), writable=True)
        case "mounted":
            return Place(opened(f"mounted:{tmp_path}"), mount, writable=False)
        case "environment":
            return Place(opened("environment:"), export, writable=False)
    store = opened(f"vault:{stand_in.url}/{MOUNT}/tradewind")
    return Place(store, lambda name, value: store.put(name, Secret(value)), writable=True)


def test_what_was_given_is_found_and_listed_by_name_only(place: Place) -> None:
    assert (place.store.entries(), place.store.find("stripe_api_key")) == ([], None)
    place.give("stripe_api_key", CANARY)
    place.give("a_second", "other")
    assert place.store.find("stripe_api_key") == Secret(CANARY)
    assert [entry.name for entry in place.store.entries()] == ["a_second", "stripe_api_key"]
    assert CANARY not in f"{place.store!r}{place.store.description}{place.store.entries()!r}"


def test_a_changed_value_is_the_one_found(place: Place) -> None:
    place.give("stripe_api_key", "before")
    place.give("stripe_api_key", "after")
    assert place.store.find("stripe_api_key") == Secret("after")


def test_a_store_that_cannot_be_written_says_so(place: Place) -> None:
    if place.writable:
        pytest.skip("it can")
    with pytest.raises(SecretsError) as refused:
        place.store.put("stripe_api_key", Secret(CANARY))
    assert refused.value.code == "read-only"
    assert CANARY not in f"{refused.value}{refused.value.fix}"


@pytest.mark.parametrize("name", ["", "../etc/passwd", "Upper", "a/b", "a" * 101, "1st", "a\n"])
def test_a_name_is_no_path(place: Place, name: str) -> None:
    with pytest.raises(SecretsError) as refused:
        place.store.find(name)
    assert refused.value.code == "name-invalid"


@pytest.mark.parametrize("value", ["", "x" * 65_537, "nul\x00"])
def test_what_is_no_secret_is_refused(place: Place, value: str) -> None:
    if not place.writable:
        pytest.skip("it takes none")
    with pytest.raises(SecretsError) as refused:
        place.store.put("a_name", Secret(value))
    assert refused.value.code == "value-invalid"


# The encrypted file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "secrets.enc"


def file_with(path: Path, environ: dict[str, str]) -> EncryptedFile:
    return EncryptedFile(path, lambda make: find_key(environ, make=make))


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(SecretsError) as raised:
        act()
    assert CANARY not in f"{raised.value!r} {raised.value.fix}"
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return raised.value.code


def test_nothing_of_it_can_be_read_without_the_key(path: Path, tmp_path: Path) -> None:
    environ = {KEY_FILE: str(tmp_path / "key")}
    file_with(path, environ).put("stripe_api_key", Secret(CANARY))
    assert CANARY.encode() not in path.read_bytes()
    assert b"stripe" not in path.read_bytes()
    assert [file.stat().st_mode & 0o777 for file in (path, tmp_path / "key")] == [0o600, 0o600]
    assert code_of(lambda: file_with(path, {KEY: OTHER_KEY}).entries()) == "key-wrong"
    assert code_of(lambda: file_with(path, {KEY: "short"}).entries()) == "key-invalid"
    (tmp_path / "key").rename(tmp_path / "away")
    assert code_of(lambda: file_with(path, environ).entries()) == "key-missing"
    assert code_of(lambda: file_with(path, environ).put("more", Secret("x"))) == "key-missing"
    (tmp_path / "away").rename(tmp_path / "key")
    (tmp_path / "key").chmod(0o644)
    assert code_of(lambda: file_with(path, environ).entries()) == "key-invalid"


def test_a_file_changed_anywhere_is_refused(path: Path) -> None:
    store = file_with(path, {KEY: OTHER_KEY})
    store.put("stripe_api_key", Secret(CANARY))
    whole = path.read_bytes()
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
        # A bit in the key's id makes it another key's, to all that one can see.
        assert code_of(store.entries) in {"tampered", "key-wrong"}
    for cut in (0, 10, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert code_of(store.entries) == "tampered"
    path.write_bytes(whole)
    assert store.find("stripe_api_key") == Secret(CANARY)


def test_the_header_is_authenticated(path: Path) -> None:
    store = file_with(path, {KEY: OTHER_KEY})
    store.put("a_name", Secret("x"))
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"key":', b'"key" :'))  # reads the same
    assert code_of(store.entries) == "tampered"


def test_a_write_never_uses_a_nonce_twice(path: Path) -> None:
    store = file_with(path, {KEY: OTHER_KEY})
    seen = set()
    for n in range(50):
        store.put("a_name", Secret(str(n)))
        seen.add(path.read_bytes().split(b"\n")[1])
    assert len(seen) == 50


WRITER = """
import sys
from pathlib import Path
from tradewind.chassis.settings import Secret
from tradewind.chassis.secrets.encrypted import EncryptedFile
from tradewind.chassis.secrets.keys import find_key
import os
store = EncryptedFile(Path(sys.argv[1]), lambda make: find_key(os.environ, make=make))
for n in range(20):
    store.put(f"{sys.argv[2]}_{n}", Secret("x"))
"""


def test_writers_take_turns_and_make_one_key(path: Path, tmp_path: Path) -> None:
    environ = {**os.environ, KEY_FILE: str(tmp_path / "key")}
    environ.pop(KEY, None)
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], env=environ) for name in ("a", "b", "c")
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    assert len(file_with(path, environ).entries()) == 60


MIGRATOR = """
import sys
from pathlib import Path
from tradewind.stack.kept_secrets import Secrets
secrets = Secrets(Path(sys.argv[1]))
import tradewind.chassis.secrets.encrypted
print("go", flush=True)
sys.stdin.readline()
secrets.get("name_0")
"""


def test_a_plain_file_is_taken_over_also_across_a_kill_in_the_middle(tmp_path: Path) -> None:
    values = {f"name_{n}": f"{CANARY}-{n}" for n in range(300)}
    killed = 0
    for attempt in range(12):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        (folder / PLAIN_FILE).write_bytes(msgspec.json.encode(values))
        child = subprocess.Popen(
            [sys.executable, "-c", MIGRATOR, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        child.stdin.write("\n")
        child.stdin.flush()
        # At the sight of a different trace of the work each time: none, the lock, the new file, the whole one.
        trace = [folder, folder / f"{FILE}.lock", folder / f"{FILE}.{child.pid}.new", folder / FILE][attempt % 4]
        while not trace.exists() and child.poll() is None:
            pass
        child.send_signal(signal.SIGKILL)
        killed += child.wait(30) == -signal.SIGKILL
        child.stdin.close()
        child.stdout.close()
        again = Secrets(folder)
        assert {name: again.get(name) for name in values} == values
        assert not (folder / PLAIN_FILE).exists()
        assert CANARY.encode() not in b"".join(file.read_bytes() for file in folder.iterdir())
    assert killed > 0


def test_what_was_changed_since_is_not_taken_back_by_a_plain_file_that_stayed(tmp_path: Path) -> None:
    """Killed between the write and the removal, and then changed."""
    Secrets(tmp_path).store().put("platform", Secret("new"))
    (tmp_path / PLAIN_FILE).write_text('{"platform": "old", "bus": "kept"}')
    again = Secrets(tmp_path)
    assert (again.get("platform"), again.get("bus")) == ("new", "kept")


# Vault


def vault_store(stand_in: VaultStandIn, token: str = TOKEN) -> SecretStore:
    return open_store(f"vault:{stand_in.url}/{MOUNT}/tradewind", {"VAULT_TOKEN": token})


def test_vault_a_deleted_secret_is_none_and_may_be_set_anew(stand_in: VaultStandIn) -> None:
    store = vault_store(stand_in)
    store.put("a_name", Secret("one"))
    stand_in.versions["tradewind/a_name"].append(None)
    assert store.find("a_name") is None
    store.put("a_name", Secret("two"))
    assert store.find("a_name") == Secret("two")


def test_vault_a_write_replaces_the_version_it_saw_and_no_other(
    stand_in: VaultStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = vault_store(stand_in)
    store.put("a_name", Secret("one"))
    monkeypatch.setattr(store, "_current_version", lambda _: 0)  # as if the other had written in between
    assert code_of(lambda: store.put("a_name", Secret(CANARY))) == "conflict"
    assert store.find("a_name") == Secret("one")


def test_vault_each_refusal_has_its_name(stand_in: VaultStandIn) -> None:
    assert code_of(lambda: vault_store(stand_in, CANARY).find("a_name")) == "forbidden"
    stand_in.sealed = True
    assert code_of(lambda: vault_store(stand_in).find("a_name")) == "unavailable"
    gone = open_store("vault:http://127.0.0.1:9/secret/tradewind", {"VAULT_TOKEN": CANARY})
    assert code_of(lambda: gone.find("a_name")) == "unavailable"
    stand_in.sealed = False
    stand_in.versions["tradewind/odd"] = [{"value": 7}]
    assert code_of(lambda: vault_store(stand_in).find("odd")) == "value-invalid"


# From a store to a process


class RoomSettings(Settings, frozen=True, kw_only=True):
    PREFIX = "ROOM_"
    api_key: Annotated[Secret, Setting("A key.")]
    name: Annotated[str, Setting("No secret.")] = ""


def test_a_process_takes_from_the_store_what_its_environment_does_not_give(tmp_path: Path) -> None:
    (tmp_path / "room_api_key").write_text(CANARY)
    (tmp_path / "room_name").write_text("not asked for")
    environ = {STORE: f"mounted:{tmp_path}"}
    assert load(RoomSettings, with_secrets(RoomSettings, environ)) == RoomSettings(api_key=Secret(CANARY))
    given = {**environ, "ROOM_API_KEY": "given"}
    assert load(RoomSettings, with_secrets(RoomSettings, given)).api_key == Secret("given")


@pytest.mark.parametrize(
    "address", ["nonsense", "file:", "mounted:", "vault:ftp://x/y/z", "vault:http://h/secret", "vault:http://u:p@h/a/b"]
)
def test_an_address_that_names_no_store_is_told_the_forms(address: str) -> None:
    with pytest.raises(SecretsError) as refused:
        open_store(address, {"VAULT_TOKEN": "t"})
    assert refused.value.code == "store-unknown"
    assert "vault:https" in refused.value.fix


def test_a_vault_needs_a_token(stand_in: VaultStandIn) -> None:
    assert code_of(lambda: open_store(f"vault:{stand_in.url}/secret/tradewind", {})) == "key-missing"
