"""How caught mail is named."""

from __future__ import annotations

from tradewind.stack.mailbox import file_name


def message(message_id: str | None, body: str = "hello") -> bytes:
    head = f"Message-ID: {message_id}\r\n" if message_id else ""
    return f"{head}Subject: x\r\n\r\n{body}\r\n".encode()


def test_a_message_sent_twice_has_one_name() -> None:
    assert file_name(message("<order-1.confirmed@tradewind.test>")) == file_name(
        message("<order-1.confirmed@tradewind.test>", body="resent")
    )


def test_different_messages_have_different_names() -> None:
    assert file_name(message("<a@x.test>")) != file_name(message("<a@y.test>"))
    assert file_name(message(None, "one")) != file_name(message(None, "two"))


def test_a_name_cannot_leave_its_folder() -> None:
    name = file_name(message("<../../etc/passwd@x.test>"))
    assert "/" not in name
    assert not name.startswith(".")
    assert name.endswith(".eml")
