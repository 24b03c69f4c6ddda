"""The rules of accounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tradewind.chassis.errors import Conflict, Forbidden, Invalid, Problem
from tradewind.services.auth import domain
from tradewind.services.auth.domain import Account, Role


def account(*roles: Role, id: str = "a", disabled: bool = False) -> Account:
    return Account(id=id, email="ada@example.test", name="Ada", roles=roles, disabled=disabled, version=1)


def refused(kind: type[Problem], rule: Callable[..., Any], *args: Any, **named: Any) -> Problem:
    with pytest.raises(kind) as raised:
        rule(*args, **named)
    return raised.value


@pytest.mark.parametrize(
    ("text", "email"),
    [
        ("ada@example.test", "ada@example.test"),
        ("  ADA@Example.Test\t", "ada@example.test"),
        ("a.b+c_d-e'f@sub.example.co", "a.b+c_d-e'f@sub.example.co"),
        ("1@1.de", "1@1.de"),
        (f"{'a' * 64}@example.test", f"{'a' * 64}@example.test"),
        ("a@xn--mnchen-3ya.example", "a@xn--mnchen-3ya.example"),
    ],
)
def test_addresses(text: str, email: str) -> None:
    assert domain.normal_email(text) == email


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "ada", "@example.test", "ada@", "ada@example", "a@b@example.test", "a..b@example.test", ".a@example.test",
        "a.@example.test", "a b@example.test", "a@-example.test", "a@example-.test", "a@example..test", "a@.test",
        "a@example.test.", "a@example.test\n", "a\n@example.test", "a@exam\0ple.test", '"a b"@example.test',
        "a@[127.0.0.1]", "ädä@example.test", "\u212ate@example.test", f"{'a' * 65}@example.test",
        f"a@{'b' * 64}.test", f"a@{'.'.join(['b' * 60] * 5)}.test", "Ada <ada@example.test>", "a,b@example.test",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    problem = refused(Invalid, domain.normal_email, text)
    assert (problem.status, problem.errors[0].pointer, problem.errors[0].code) == (422, "/email", "email")


def test_a_long_almost_address_is_refused_quickly() -> None:
    for text in ("a" * 1_000_000, "a@" + "b." * 500_000, "a@" + "b-" * 120, "!" * 64 + "@" + "a." * 90):
        assert domain.find_email(text) is None


def test_names_are_trimmed_and_stay_in_one_line() -> None:
    assert domain.normal_name("  Ada Lovelace ") == "Ada Lovelace"
    assert domain.normal_name("艾达") == "艾达"
    for text in ("", " \u2003 ", "x" * 201, "Ada\nLovelace", "Ada\x7f"):
        assert refused(Invalid, domain.normal_name, text).errors[0].pointer == "/name"


@pytest.mark.parametrize("password", ["correct horse", "x" * 127 + "y", "пароль с пробелами", "Tr0ub4dor&3"])
def test_passwords(password: str) -> None:
    domain.check_password(password, "ada@example.test")


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("", "password-length"),
        ("1234567", "password-length"),
        ("x" * 129, "password-length"),
        ("password", "password-common"),
        ("PassWord123", "password-common"),
        (" 12345678 ", "password-common"),
        ("aaaaaaaaaaaa", "password-common"),
        ("        ", "password-common"),
        ("        1", "password-common"),
        ("Ada@Example.test", "password-common"),
    ],
)
def test_what_is_no_password(password: str, code: str) -> None:
    problem = refused(Invalid, domain.check_password, password, "ada@example.test", pointer="/new_password")
    assert (problem.errors[0].pointer, problem.errors[0].code) == ("/new_password", code)


def test_every_common_password_could_be_chosen_otherwise() -> None:
    assert all(len(word) >= domain.MIN_PASSWORD_CHARS for word in domain._COMMON_PASSWORDS)


def test_roles_have_one_order() -> None:
    assert domain.normal_roles(["admin", "customer", "admin"]) == ("customer", "admin")


def test_an_administrator_has_every_role_unless_disabled() -> None:
    assert all(account("admin").has(role) for role in domain.ROLES)
    assert not account("support").has("admin")
    assert not account("admin", disabled=True).has("support")


def test_who_sets_roles() -> None:
    domain.check_may_set_roles(account("admin"))
    for actor in (None, account("support"), account("customer", "finance"), account("admin", disabled=True)):
        assert refused(Forbidden, domain.check_may_set_roles, actor).code == "role-required"


def test_who_disables_whom() -> None:
    customer, admin, lame_admin = account("customer"), account("admin"), account("admin", disabled=True)
    domain.check_may_disable(account("support"), customer)
    domain.check_may_disable(account("admin"), customer)
    domain.check_may_disable(account("admin"), admin)
    for actor, target in (
        (None, customer),
        (account("customer"), customer),
        (account("finance", "analyst"), customer),
        (account("support"), admin),
        (account("support"), lame_admin),
        (account("support", disabled=True), customer),
    ):
        assert refused(Forbidden, domain.check_may_disable, actor, target).code == "role-required"


def test_the_last_administrator_stays() -> None:
    domain.check_admin_remains(["a", "b"], account("admin", id="a"))
    domain.check_admin_remains(["b"], account("admin", id="a", disabled=True))
    domain.check_admin_remains(["b"], account("customer", id="a"))
    assert refused(Conflict, domain.check_admin_remains, ["a"], account("admin", id="a")).code == "last-admin"
