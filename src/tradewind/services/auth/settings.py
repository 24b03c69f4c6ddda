"""What auth-service needs from its environment."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from tradewind.chassis.errors import Problem
from tradewind.chassis.settings import Count, DatabaseServiceSettings, Seconds, Secret, Setting, SettingsError
from tradewind.services.auth import domain


class AuthSettings(DatabaseServiceSettings, frozen=True, kw_only=True):
    """Settings of auth-service. The first administrator's two values are given together or not at all."""

    PREFIX = "AUTH_"

    signing_keys_file: Annotated[str, Setting("File with the private keys that sign access tokens.")]
    session_ttl_s: Annotated[
        Seconds, Setting("How long a session lasts, however often it is refreshed; then one signs in again.")
    ] = 30 * 24 * 3600.0
    hash_threads: Annotated[
        int,
        Meta(ge=1, le=64),
        Setting("Threads that hash passwords (28 ms and 19 MiB each time); so many cores a login storm can take."),
    ] = 1
    hash_queue: Annotated[Count, Setting("Most passwords that wait to be hashed; beyond it the answer is 503.")] = 64
    admin_email: Annotated[str, Setting("Address of the first administrator.", env="TRADEWIND_ADMIN_EMAIL")] = ""
    admin_password: Annotated[
        Secret | None, Setting("Password of the first administrator.", env="TRADEWIND_ADMIN_PASSWORD")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        faults: list[str] = []
        if self.hash_threads < 1 or self.hash_queue < 1:
            faults.append("AUTH_HASH_THREADS, AUTH_HASH_QUEUE: at least 1.")
        if bool(self.admin_email) != bool(self.admin_password):
            faults.append("TRADEWIND_ADMIN_EMAIL, TRADEWIND_ADMIN_PASSWORD: give both or neither.")
        elif self.admin_password:
            faults += self._wrong_admin(self.admin_password)
        if faults:
            raise SettingsError(faults)

    def _wrong_admin(self, password: Secret) -> list[str]:
        try:
            email = domain.normal_email(self.admin_email)
        except Problem as problem:
            return [f"TRADEWIND_ADMIN_EMAIL: {problem.detail}"]
        try:
            domain.check_password(password.reveal(), email)
        except Problem as problem:
            return [f"TRADEWIND_ADMIN_PASSWORD: {problem.detail}"]
        return []
