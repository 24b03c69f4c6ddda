"""From a notice to a mail: plain text and HTML, by the templates beside this file."""

from __future__ import annotations

from email.generator import BytesGenerator
from email.header import Header
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from email.policy import compat32
from email.utils import format_datetime, formataddr, parseaddr
from io import BytesIO
from pathlib import Path

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tradewind.services.notification.store import Mail

FOLDER = Path(__file__).parent / "templates"
# Bodies are 7bit or base64 by their text, so any server takes these bytes as they are.
_WIRE = compat32.clone(linesep="\r\n")


class Letter(msgspec.Struct, frozen=True):
    """A mail as it goes over the wire: the addresses of its envelope, and its bytes with CRLF line ends, all ASCII."""

    sender: str
    recipient: str
    content: bytes


class Templates:
    """The mail templates, compiled once. `<kind>.txt` is the text; every kind shares one HTML frame."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=select_autoescape(("html",)),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )

    def letter(self, mail: Mail, sender: str) -> Letter:
        """The mail to send, with its stable Message-ID.

        Made with the older half of the `email` package: the newer one parses every header that it is given, which was
        two thirds of this service's CPU.
        """
        values = {"mail": mail, "data": mail.data}
        # Known beforehand, and in no text of ours: else it is sought in all of them.
        message = MIMEMultipart("alternative", boundary=f"=_{mail.notification_id}")
        message["From"] = _address(*parseaddr(sender))
        message["To"] = _address(mail.name, mail.email)
        message["Subject"] = _subject(mail.title)
        message["Date"] = format_datetime(mail.created_at)
        message["Message-ID"] = mail.message_id
        message["Auto-Submitted"] = "auto-generated"
        text = self._environment.get_template(f"{mail.kind}.txt").render(values)
        message.attach(MIMEText(text))
        message.attach(MIMEText(self._environment.get_template("frame.html").render(values, text=text), "html"))
        wire = BytesIO()
        BytesGenerator(wire, policy=_WIRE).flatten(message)
        return Letter(parseaddr(sender)[1], mail.email, wire.getvalue())


def _address(name: str, email: str) -> str:
    """`Name <address>`, as RFC 2047 where ASCII does not do. A name is what a user typed: a line break in it would begin
    another header, so what does not print is left away.
    """
    return formataddr(("".join(char for char in name if char.isprintable())[:100], email))


def _subject(title: str) -> str:
    line = " ".join(title.splitlines())
    return line if line.isascii() else Header(line, "utf-8", header_name="Subject").encode()
