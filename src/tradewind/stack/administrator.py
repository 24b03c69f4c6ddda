"""The first administrator: given by the environment, or made once, shown once and kept nowhere."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from tradewind.stack.errors import StackError
from tradewind.stack.state import State, write_json

DEFAULT_EMAIL = "admin@tradewind.test"
_EMAIL, _PASSWORD = "TRADEWIND_ADMIN_EMAIL", "TRADEWIND_ADMIN_PASSWORD"


@dataclass(frozen=True)
class Administrator:
    """`email` and `password` are empty when there is one from an earlier start; `made`: we made the password just now."""

    email: str = ""
    password: str = ""
    made: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """What auth-service reads."""
        return {_EMAIL: self.email, _PASSWORD: self.password} if self.password else {}


def administrator(state: State, environ: Mapping[str, str]) -> Administrator:
    """Who is to be the first administrator at this start. Raises StackError when only one variable is set."""
    email, password = environ.get(_EMAIL, ""), environ.get(_PASSWORD, "")
    if bool(email) != bool(password):
        missing = _PASSWORD if email else _EMAIL
        raise StackError(f"{missing} is not set", f"set both {_EMAIL} and {_PASSWORD}, or neither")
    if email:
        return Administrator(email, password)
    if (state.folder / "administrator.json").exists():
        return Administrator()
    # auth-service makes no second account of an address, and somebody else's database may have this one.
    made = f"admin-{secrets.token_hex(3)}@tradewind.test" if environ.get("TRADEWIND_POSTGRES_URL") else DEFAULT_EMAIL
    return Administrator(made, secrets.token_urlsafe(12), made=True)


def remember(state: State, email: str) -> None:
    """Note that auth-service has an administrator, so that the next start makes none."""
    write_json(state.folder / "administrator.json", {"email": email})
