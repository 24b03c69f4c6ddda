"""Running PostgreSQL when we are root: it refuses to, and no system user shall be made for it.

First choice is a user namespace of one process (`unshare --user`): the server believes it is user 1000, the files stay
ours, nothing on the machine changes. Where namespaces are forbidden, an existing unprivileged user runs it; its data then
has to live where that user may walk.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tradewind.stack.errors import StackError

_CANDIDATES = ("postgres", "nobody")
_PROBE_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Disguise:
    """How to run a program that refuses root. `prefix` goes before its argv; `user` owns its files, if not us."""

    prefix: tuple[str, ...] = ()
    user: str | None = None

    def folder(self, wanted: Path) -> Path:
        """Where the program's data can live: `wanted`, or for another user a folder outside of our private ones."""
        if self.user is None:
            return wanted
        digest = hashlib.sha256(bytes(wanted.absolute())).hexdigest()[:12]
        return Path("/var/tmp") / f"tradewind-{self.user}-{digest}"  # noqa: S108 - mode 0700 and that user's

    def own(self, folder: Path) -> None:
        """Make `folder` (mode 0700), owned by whoever runs the program."""
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user is not None:
            record = pwd.getpwnam(self.user)
            os.chown(folder, record.pw_uid, record.pw_gid)

    def own_pipe(self, descriptor: int) -> None:
        """Let whoever runs the program open the pipe `descriptor` by its `/dev/fd` name."""
        if self.user is not None:
            record = pwd.getpwnam(self.user)
            os.fchown(descriptor, record.pw_uid, record.pw_gid)


def disguise(environ: Mapping[str, str]) -> Disguise:
    """How to run PostgreSQL as the current user; raises StackError when root finds no way.

    `TRADEWIND_POSTGRES_USER` names the user for the second way and skips the first.
    """
    if os.geteuid() != 0:
        return Disguise()
    named = environ.get("TRADEWIND_POSTGRES_USER")
    if named is None and namespaces_work():
        return Disguise(prefix=_unshare())
    for user in (named,) if named else _CANDIDATES:
        if _exists(user) and shutil.which("setpriv"):
            become = ("setpriv", f"--reuid={user}", f"--regid={_group(user)}", "--clear-groups")
            # The change of user forgets the death signal that `spawn` asked for; it is asked for again after the change (`postgres.DEATH_SIGNAL`).
            return Disguise(prefix=(*become, "setpriv", "--pdeathsig=QUIT"), user=user)
    raise StackError(
        f"PostgreSQL refuses to run as root, and {'user ' + named if named else 'no unprivileged user'} was found",
        "run tradewind as an ordinary user, or allow user namespaces: sysctl -w user.max_user_namespaces=1000",
    )


@cache
def namespaces_work() -> bool:
    """Whether `unshare --user` may be used here (some containers and hardened kernels forbid it)."""
    if shutil.which("unshare") is None:
        return False
    try:
        probe = subprocess.run([*_unshare(), "true"], capture_output=True, check=False, timeout=_PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return probe.returncode == 0


def _unshare() -> tuple[str, ...]:
    return ("unshare", "--user", "--map-user=1000", "--map-group=1000")


def _exists(user: str) -> bool:
    try:
        return pwd.getpwnam(user).pw_uid != 0
    except KeyError:
        return False


def _group(user: str) -> int:
    return pwd.getpwnam(user).pw_gid
