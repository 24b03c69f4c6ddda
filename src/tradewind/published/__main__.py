"""Publish what is new in the contracts: `python -m tradewind.published` (or `make publish-contracts`).

Refuses, and writes nothing, while something published is broken. `retire TYPE` ends a version that nobody tells or hears.
"""

from __future__ import annotations

import sys

from tradewind.published.changes import breaches, unpublished
from tradewind.published.schemas import all_schemas
from tradewind.published.shelf import FOLDER, retire, shelved, write


def publish() -> int:
    """Write the schemas that are new or have gained something; the exit code."""
    published, current = shelved(FOLDER), all_schemas()
    broken = breaches(published, current)
    for breach in broken:
        sys.stderr.write(f"{breach}\n")
    if broken:
        sys.stderr.write(f"nothing was published: {len(broken)} changes would break readers\n")
        return 1
    for type_ in unpublished(published, current):
        sys.stdout.write(f"{write(FOLDER, type_, current[type_])}\n")
    return 0


def main(words: list[str]) -> int:
    """No words: publish. `retire TYPE`: end a version."""
    match words:
        case []:
            return publish()
        case ["retire", type_]:
            try:
                sys.stdout.write(f"{retire(FOLDER, type_)} is gone\n")
            except ValueError as error:
                sys.stderr.write(f"{error}\n")
                return 1
            return 0
        case _:
            sys.stderr.write("python -m tradewind.published [retire TYPE]\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
