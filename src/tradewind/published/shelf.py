"""The published schemas, a file for each version of each event."""

from __future__ import annotations

from pathlib import Path

import msgspec

from tradewind.published.readers import heard_by
from tradewind.published.schemas import Document, all_schemas

FOLDER = Path("docs/reference/events")


def shelved(folder: Path) -> dict[str, Document]:
    """What was published, by type."""
    return {path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(folder.glob("*.json"))}


def write(folder: Path, type_: str, schema: Document) -> Path:
    """Put the schema of a type there, and return where."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{type_}.json"
    path.write_bytes(text(schema))
    return path


def text(schema: Document) -> bytes:
    """A schema as its file has it."""
    return msgspec.json.format(msgspec.json.encode(schema), indent=2) + b"\n"


def retire(folder: Path, type_: str) -> Path:
    """Take a version off the shelf, which was told and heard once and is not any more.

    Raises:
        ValueError: it was never published, is still told, or still heard; it says by whom.
    """
    path = folder / f"{type_}.json"
    if not path.exists():
        raise ValueError(f"{type_} was never published")
    if type_ in all_schemas():
        raise ValueError(f"{type_} is still in the contracts: take it out there first")
    if readers := heard_by().get(type_):
        raise ValueError(f"{type_} is still heard by {', '.join(readers)}")
    path.unlink()
    return path
