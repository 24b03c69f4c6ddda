"""The agent's program: on PATH, or Debian bullseye's package, fetched through the machine's own apt and held against `consul.sha256`.

Bullseye is the last Debian release that carries Consul. The package is unpacked into a cache, not installed; apt works with
lists of its own, and what is installed on the machine stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tradewind.stack.errors import StackError
from tradewind.stack.fetched import cache_folder, fetched

VERSION = "1.8.7"
RELEASE = "bullseye"
FETCH_TIMEOUT_S = 300.0

_LOCK = Path(__file__).with_name("consul.sha256")
_KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FIX = "put `consul` on PATH, or set CONSUL_HTTP_ADDR to a running agent"


def find(environ: Mapping[str, str] = os.environ) -> str | None:
    """The program on PATH, or the one that was fetched before."""
    if on_path := shutil.which("consul", path=environ.get("PATH")):
        return on_path
    kept = _folder(environ) / "usr/bin/consul"
    return str(kept) if kept.exists() else None


def fetch(environ: Mapping[str, str] = os.environ) -> str:
    """The program, fetched now (14 MB) unless it is there.

    Raises:
        StackError: no apt, no network, or a package that is not the locked one.
    """
    if found := find(environ):
        return found
    folder = _folder(environ)

    def unpacked(fresh: Path) -> Path:
        _run(["dpkg", "-x", str(_download(fresh)), str(fresh / "unpacked")])
        return fresh / "unpacked"

    fetched(folder, unpacked)
    return str(folder / "usr/bin/consul")


def check(package: Path) -> None:
    """Compare a package with the lock. Raises StackError when it is another."""
    wanted, name = _LOCK.read_text(encoding="ascii").split()
    got = hashlib.sha256(package.read_bytes()).hexdigest()
    if got != wanted:
        raise StackError(f"{package.name} is not the {name} in consul.sha256", "do not run it; find out who changed it")


def _folder(environ: Mapping[str, str]) -> Path:
    return cache_folder(environ) / f"consul-{VERSION}-{_LOCK.read_text(encoding='ascii')[:12]}"


def _download(folder: Path) -> Path:
    """The package, checked. apt's sources, lists and cache are in `folder`, its mirror is the machine's."""
    if shutil.which("apt-get") is None or not Path(_KEYS).exists():
        raise StackError("Consul's package comes through Debian's apt, and there is none on this machine", _FIX)
    lists, archives = folder / "lists", folder / "archives"
    for path in (lists / "partial", archives / "partial"):
        path.mkdir(parents=True)
    sources = folder / "sources.list"
    sources.write_text(f"deb [arch=amd64 signed-by={_KEYS}] {_mirror()} {RELEASE} main\n", encoding="utf-8")
    options = {
        "Dir::Etc::SourceList": sources,
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": lists,
        "Dir::Cache": folder,
        "Acquire::Languages": "none",
        "APT::Architecture": "amd64",
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-qq", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], folder)
    _run([*apt, "download", "consul"], folder)
    packages = sorted(folder.glob("consul_*.deb"))
    if not packages:
        raise StackError("apt downloaded no package of Consul", _FIX)
    check(packages[0])
    return packages[0]


def _mirror() -> str:
    """Where this machine takes Debian's packages from."""
    said = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)", "Created-By: Packages"])
    found = [
        line.split(" ", 1)[1] for line in said.splitlines() if line.startswith("Debian ") and "security" not in line
    ]
    if not found:
        raise StackError("apt knows no mirror of Debian on this machine", f"apt-get update, or {_FIX}")
    return found[0]


def _run(argv: Sequence[str], folder: Path | None = None) -> str:
    try:
        ended = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S, cwd=folder)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"Consul's package could not be fetched: {error}", f"look at the network, {_FIX}") from error
    if ended.returncode != 0:
        said = " | ".join((ended.stdout + ended.stderr).strip().splitlines()[-3:])
        raise StackError(f"Consul's package could not be fetched: {said}", f"look at the network, {_FIX}")
    return ended.stdout
