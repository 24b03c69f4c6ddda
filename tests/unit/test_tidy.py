"""The house is as its signs say: a stranger may believe every docstring, table and list that this test reads."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tradewind.cli import VERBS
from tradewind.stack.rooms import all_rooms, rooms_with_database

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "src/tradewind"
SERVICES = PACKAGE / "services"
ROOMS = all_rooms()
HEADINGS = ("Owns", "Serves", "Emits", "Hears", "Calls")

_OPERATION = re.compile(r"(?:GET|POST|PUT|PATCH|DELETE) /[\w/{}.-]*")
_EVENT = re.compile(r"[a-z_]+\.[a-z_]+\.v\d+")
_TABLE = re.compile(r"CREATE TABLE (\w+)")


def sign(room: str) -> dict[str, str]:
    """The five headings of a room's docstring, each with its text on one line."""
    text = (importlib.import_module(f"tradewind.services.{room}").__doc__ or "").split("\n\n")[1]
    found: dict[str, str] = {}
    for line in text.splitlines():
        heading = line.split(" ", 1)[0]
        if heading in HEADINGS:
            found[heading] = line[len(heading) :].strip()
        else:
            found[list(found)[-1]] += " " + line.strip()
    return found


def sources(folder: Path = PACKAGE) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*.py")) if "__pycache__" not in path.parts)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_its_files(room: str) -> None:
    folder = SERVICES / room
    for name in ("settings", "domain", "store", "usecases", "api", "app"):
        assert (folder / f"{name}.py").exists() or (folder / name / "__init__.py").exists(), name
    assert tuple(sign(room)) == HEADINGS


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_serves_what_its_sign_says(room: str) -> None:
    api = importlib.import_module(f"tradewind.services.{room}.api").api
    served = {f"{operation.method} {operation.path}" for operation in api.operations}
    assert set(_OPERATION.findall(sign(room)["Serves"])) == served


@pytest.mark.parametrize("room", rooms_with_database())
def test_a_room_hears_what_its_sign_says(room: str) -> None:
    heard = set()
    if (SERVICES / room / "consumer.py").exists():
        handlers = importlib.import_module(f"tradewind.services.{room}.consumer").handlers
        heard = {event.TYPE for event in handlers.types}
    assert set(_EVENT.findall(sign(room)["Hears"])) == heard


@pytest.mark.parametrize("room", rooms_with_database())
def test_a_room_emits_what_its_sign_and_its_contract_say(room: str) -> None:
    contract = PACKAGE / "contracts" / f"{room}.py"
    published = set()
    if contract.exists():
        published = {event.TYPE for event in importlib.import_module(f"tradewind.contracts.{room}").EVENTS}
    assert set(_EVENT.findall(sign(room)["Emits"])) == published


@pytest.mark.parametrize("room", rooms_with_database())
def test_a_room_owns_the_tables_its_sign_says(room: str) -> None:
    migrations = (SERVICES / room / "migrations/versions").glob("0*.py")
    made = {table for path in migrations for table in _TABLE.findall(path.read_text())}
    owns, _, rest = sign(room)["Owns"].partition("(")
    assert {table.strip() for table in owns.split(",")} == made
    assert rest.startswith(f"database {room}_service")


def test_no_file_is_called_after_nothing() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc", "core"}
    assert [path for path in sources() if path.stem in vague or path.parent.name in vague] == []


def test_a_room_keeps_its_sql_in_its_store() -> None:
    statement = re.compile(r'"\s*(?:SELECT|INSERT INTO|UPDATE|DELETE FROM|WITH) \w', re.IGNORECASE)
    found = [
        path.relative_to(SERVICES)
        for path in sources(SERVICES)
        if not {"store", "store.py", "migrations"} & set(path.relative_to(SERVICES).parts)
        and statement.search(path.read_text())
    ]
    assert found == []


def test_services_ask_the_clock_they_are_given() -> None:
    asked = re.compile(r"datetime\.(?:now|utcnow|today)\(|time\.time\(")
    assert [path for path in sources(SERVICES) if asked.search(path.read_text())] == []


def test_every_package_is_one() -> None:
    folders = {path.parent for path in sources()}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_files_stay_readable() -> None:
    long = {str(path.relative_to(PACKAGE)): n for path in sources() if (n := path.read_text().count("\n")) > 420}
    assert long == {}


def test_the_readme_names_every_room_and_every_verb() -> None:
    readme = (REPOSITORY / "README.md").read_text()
    reference = (REPOSITORY / "docs/reference/cli.md").read_text()
    assert [room for room in ROOMS if f"`{room}`" not in readme] == []
    assert [verb for verb in VERBS if f"tradewind {verb}" not in reference] == []


def test_nothing_names_one_machine() -> None:
    path = re.compile(r"(?:^|[^A-Za-z0-9_.])/(?:work|farm|root|home/\w+)/", re.MULTILINE)
    kinds = {".py", ".md", ".toml", ".yml", ".yaml", ".sh", ".json", ".html", ".svg", ""}
    tops = ("src", "tests", "docs", "scripts", "k8s", "infrastructure")
    found = [
        str(file.relative_to(REPOSITORY))
        for top in tops
        for file in (REPOSITORY / top).rglob("*")
        if file.is_file() and file.suffix in kinds and "__pycache__" not in file.parts and path.search(file.read_text())
    ]
    assert [name for name in found if name != "tests/unit/test_tidy.py"] == []


def test_locks_hold_hashes_and_no_addresses() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        text = (REPOSITORY / name).read_text()
        assert "://" not in text
        assert text.count("==") <= text.count("--hash=sha256:")


def test_tests_have_names_of_their_own() -> None:
    names = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []
