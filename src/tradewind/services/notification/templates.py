"""From a notice to a mail: plain text and HTML, by the templates beside this file."""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

from tradewind.services.notification.store import Mail

FOLDER = Path(__file__).parent / "templates"


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

    def message(self, mail: Mail, sender: str) -> EmailMessage:
        """The mail to send, with its stable Message-ID."""
        values = {"mail": mail, "data": mail.data}
        message = EmailMessage()
        message["From"] = sender
        message["To"] = _address(mail.name, mail.email)
        message["Subject"] = mail.title
        message["Date"] = format_datetime(mail.created_at)
        message["Message-ID"] = mail.message_id
        message["Auto-Submitted"] = "auto-generated"
        text = self._environment.get_template(f"{mail.kind}.txt").render(values)
        message.set_content(text)
        message.add_alternative(self._environment.get_template("frame.html").render(values, text=text), subtype="html")
        return message


def _address(name: str, email: str) -> Address | str:
    """A display name is what a user typed; what a header cannot hold is left away, never passed on."""
    local, _, domain = email.rpartition("@")
    shown = "".join(char for char in name if char.isprintable())[:100]
    try:
        return Address(display_name=shown, username=local, domain=domain)
    except ValueError:
        return email
