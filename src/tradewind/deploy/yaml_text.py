"""YAML as people write it: indented lists, commands on one line, nothing sorted, no anchors of the library's own."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

import yaml

WIDTH = 120
_MERGE = re.compile(r"^( *)'?<<'?: '(\*\w+)'$", re.MULTILINE)


class Line(list[Any]):
    """A list written on one line: `[run, order]`."""


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
        """Indent lists below their key."""
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        """Write a value that occurs twice twice."""
        return True


def _line(dumper: yaml.SafeDumper, data: Line) -> yaml.Node:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


def _text(dumper: yaml.SafeDumper, data: str) -> yaml.Node:
    return dumper.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(Line, _line)
_Dumper.add_representer(str, _text)


def dump(value: Mapping[str, Any]) -> str:
    """`value` as a YAML document, ending with a line break. `{"<<": "*name"}` merges what an anchor names."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=False
    )
    return _MERGE.sub(r"\1<<: \2", text)


def indented(text: str, spaces: int = 2) -> str:
    """`text` moved to the right."""
    return textwrap.indent(text, " " * spaces)


def comment(text: str) -> str:
    """`text` as comment lines."""
    return "".join(f"# {line}".rstrip() + "\n" for line in text.strip().splitlines())


def documents(header: str, values: Iterable[Mapping[str, Any]]) -> str:
    """Several documents in one file, under a comment."""
    return comment(header) + "---\n".join(dump(value) for value in values)
