"""All generated files by path below the repository, in the groups that `tradewind render` knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tradewind.deploy.compose import compose_file
from tradewind.deploy.dashboard import dashboard
from tradewind.deploy.kubernetes.dev import dev_files
from tradewind.deploy.kubernetes.production import base_files
from tradewind.deploy.scraping import compose_scraping, kubernetes_scraping

Files = Mapping[str, str]
"""Path -> text."""


def _compose(rooms: Sequence[str]) -> Files:
    return {"docker-compose.yml": compose_file(rooms)}


def _kubernetes(rooms: Sequence[str]) -> Files:
    return {f"k8s/{path}": text for path, text in {**base_files(rooms), **dev_files(rooms)}.items()}


def _monitoring(rooms: Sequence[str]) -> Files:
    return {
        "infrastructure/monitoring/prometheus/compose.yml": compose_scraping(rooms),
        "infrastructure/monitoring/prometheus/kubernetes.yml": kubernetes_scraping(),
        "infrastructure/monitoring/grafana/tradewind.json": dashboard(),
    }


GROUPS: Mapping[str, Callable[[Sequence[str]], Files]] = {
    "compose": _compose,
    "k8s": _kubernetes,
    "monitoring": _monitoring,
}


def files(groups: Sequence[str], rooms: Sequence[str]) -> Files:
    """The files of these groups for `rooms`."""
    return {path: text for group in groups for path, text in GROUPS[group](rooms).items()}


def printed(found: Files) -> str:
    """Files as one text: a single one as it is, several each under its path."""
    if len(found) == 1:
        return next(iter(found.values()))
    return "---\n".join(f"# {path}\n{text}" for path, text in found.items())


def write(found: Files, folder: Path) -> list[str]:
    """Write the files below `folder`; return the paths of those that were not so already. Raises OSError."""
    changed = []
    for path, text in found.items():
        target = folder / path
        if target.exists() and target.read_text(encoding="utf-8") == text:
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
        changed.append(path)
    return changed
