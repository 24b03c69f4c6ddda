"""The broker's jars: named in `pom.xml`, fetched by Maven into a cache, and held byte for byte against `jars.sha256`."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tradewind.stack.errors import StackError
from tradewind.stack.fetched import cache_folder, fetched

VERSION = "4.1.1"
OLDEST_JAVA = 17
FETCH_TIMEOUT_S = 300.0
_JAVA_TIMEOUT_S = 20.0

_POM = Path(__file__).with_name("pom.xml")
_LOCK = Path(__file__).with_name("jars.sha256")
_JAVA_VERSION = re.compile(r'version "(\d+)')
_SAID_LINES = 5


@dataclass(frozen=True)
class Installation:
    """A folder of jars, and the Java to run them with. `archive` is where classes are kept ready for a fast start."""

    java: str
    folder: Path

    @property
    def classpath(self) -> str:
        """All jars, in an order that does not change: the class archive depends on it."""
        return os.pathsep.join(str(path) for path in sorted(self.folder.glob("*.jar")))

    @property
    def archive(self) -> Path:
        """May be absent, or of another Java; the broker then starts without it."""
        return self.folder / "classes.jsa"


def find(environ: Mapping[str, str] = os.environ) -> Installation | None:
    """The broker, if it has been fetched before.

    Raises:
        StackError: it has, but there is no Java to run it.
    """
    folder = _folder(environ)
    return Installation(_java(environ), folder) if folder.exists() else None


def fetch(environ: Mapping[str, str] = os.environ) -> Installation:
    """The broker, fetched now (44 MB) unless it is there.

    Raises:
        StackError: no Java or Maven, no network, or jars that are not the locked ones.
    """
    if found := find(environ):
        return found
    java = _java(environ)
    folder = _folder(environ)

    def by_maven(fresh: Path) -> Path:
        _run_maven(fresh, environ)
        _check(fresh)
        return fresh

    fetched(folder, by_maven)
    return Installation(java, folder)


def locked() -> dict[str, str]:
    """The digest of each jar by its name."""
    lines = (line.split() for line in _LOCK.read_text(encoding="ascii").splitlines())
    return {name: digest for digest, name in lines}


def _folder(environ: Mapping[str, str]) -> Path:
    lock = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    return cache_folder(environ) / f"kafka-{VERSION}-{lock}"


def _java(environ: Mapping[str, str]) -> str:
    home = environ.get("JAVA_HOME")
    java = str(Path(home) / "bin/java") if home else shutil.which("java")
    fix = f"install Java {OLDEST_JAVA} or newer (apt-get install openjdk-17-jre-headless), or set KAFKA_BOOTSTRAP to a running broker"
    if java is None:
        raise StackError("Kafka's broker needs Java, and there is none on this machine", fix)
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=True, timeout=_JAVA_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{java} does not run: {error}", fix) from error
    found = _JAVA_VERSION.search(said.stderr + said.stdout)
    if found is None or int(found.group(1)) < OLDEST_JAVA:
        raise StackError(f"Kafka's broker needs Java {OLDEST_JAVA}; {java} is {found.group(1) if found else '?'}", fix)
    return java


def _run_maven(into: Path, environ: Mapping[str, str]) -> None:
    maven = shutil.which("mvn")
    fix = "or set KAFKA_BOOTSTRAP to a running broker"
    if maven is None:
        raise StackError(
            "Kafka's jars are fetched by Maven, and there is none on this machine", f"apt-get install maven, {fix}"
        )
    argv = [maven, "-B", "-q", "-f", str(_POM), "dependency:copy-dependencies", f"-DoutputDirectory={into}"]
    try:
        ended = subprocess.run(
            argv, capture_output=True, text=True, check=False, timeout=FETCH_TIMEOUT_S, env=dict(environ)
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"Kafka's jars could not be fetched: {error}", f"look at the network, {fix}") from error
    if ended.returncode != 0:
        said = " | ".join((ended.stdout + ended.stderr).strip().splitlines()[:_SAID_LINES])
        raise StackError(f"Kafka's jars could not be fetched: {said}", f"look at the network, {fix}")


def _check(folder: Path) -> None:
    wanted = locked()
    got = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.jar")}
    wrong = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
    if wrong:
        raise StackError(
            f"Kafka's jars are not the ones in jars.sha256: {', '.join(wrong)}",
            "do not run them; find out who changed them",
        )
