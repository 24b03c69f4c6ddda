"""The laptop's mailbox: an SMTP server that keeps every message as a file and sends none on.

`python -m tradewind.stack.mailbox PORT FOLDER`. A message's file is named after its Message-ID, so that one that was sent
twice is there once; the file appears whole or not at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import re
import signal
import sys
import time
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

import uvloop
from aiosmtpd.smtp import SMTP, Envelope, Session

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_READABLE = 80
_headers = BytesHeaderParser()
_log = logging.getLogger(__name__)


def file_name(content: bytes) -> str:
    """`<readable part of the Message-ID>-<digest>.eml`: equal for equal ids, different for different ones."""
    # The header only: the whole message would be taken apart for it.
    message_id = _headers.parsebytes(content).get("Message-ID", "").strip().strip("<>")
    digest = hashlib.sha256(message_id.encode() if message_id else content).hexdigest()[:12]
    readable = re.sub(r"[^A-Za-z0-9._-]+", "_", message_id.partition("@")[0])[:_READABLE].strip("._") or "message"
    return f"{readable}-{digest}.eml"


class Catcher:
    """Handler of aiosmtpd: keeps the first of equal messages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        """Store one message; 250 only once it is on disk."""
        content = envelope.original_content or b""
        try:
            kept = self._keep(content)
        except OSError as error:
            _log.error("mail could not be stored: %s", error)
            return "452 Requested action not taken: insufficient system storage"
        # Addresses are in the mail itself; logs travel further.
        _log.info("mail for %d kept as %s", len(envelope.rcpt_tos), kept)
        return "250 OK"

    def _keep(self, content: bytes) -> str:
        name = file_name(content)
        path = self._folder / name
        if not path.exists():
            scratch = self._folder / f".{name}.{os.getpid()}.new"
            with scratch.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            scratch.replace(path)
        return name


async def serve(port: int, folder: Path, host: str = "127.0.0.1") -> None:
    """Catch mail until SIGTERM or SIGINT."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def protocol() -> SMTP:
        settings: dict[str, Any] = {"data_size_limit": MAX_MESSAGE_BYTES, "enable_SMTPUTF8": True, "ident": "tradewind"}
        return SMTP(Catcher(folder), hostname="localhost", loop=loop, **settings)

    server = await loop.create_server(protocol, host, port)
    _log.info("mail to %s:%s is kept in %s", host, port, folder)
    await stop.wait()
    server.close()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2):
            await server.wait_closed()


def main() -> int:
    """Run by the supervisor."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    for handler in logging.getLogger().handlers:
        if handler.formatter:
            handler.formatter.converter = time.gmtime
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    port, folder = sys.argv[1:]
    uvloop.run(serve(int(port), Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
