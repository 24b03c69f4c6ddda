"""The reference page of the sandbox's script and settings, written from the types that read them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from tradewind.chassis import settings
from tradewind.sandbox.methods import METHODS
from tradewind.sandbox.script import CALLS, RULES, On, Rule
from tradewind.sandbox.settings import SandboxSettings

_EXAMPLE = {
    "script": {
        "seed": 7,
        "rules": [
            {"on": "charge", "next": 1, "do": "silent"},
            {"on": "refund", "every": 3, "do": "error", "status": 503, "done": True},
            {"on": "webhook", "chance": 0.25, "do": "late", "wait_ms": 2000},
        ],
    }
}
_WHICH = tuple(field.name for field in msgspec.structs.fields(Rule))


def sandbox_page() -> str:
    """What can be made to go wrong at the sandbox provider, and how it is set up."""
    lines = ["# The sandbox provider\n"]
    lines += [
        "It stands in for a real payment provider (`TRADEWIND_ENV=dev` only), with books of its own. Everything that a provider may do",
        "wrong can be asked of it: by payment method, as weather for all, or call by call with a script.\n",
        "## Payment methods\n",
        ", ".join(f"`{name}`" for name in METHODS) + ".\n",
        "## Weather and script\n",
        "`POST /v1/_control` with the provider's API key; what is absent stays. `GET` shows both, with how many calls each rule was",
        "asked about and how many it hit. `PSP_SANDBOX_SCRIPT` (or `_FILE`) holds the script of the start. A script is played",
        'from its beginning when it is set and when the process starts; `{"rules": []}` ends it.\n',
        "```json",
        json.dumps(_EXAMPLE, indent=2),
        "```\n",
        "`on`: "
        + ", ".join(f"`{on}`" for on in On)
        + ". Which of these calls: exactly one of `next` (so many from now on), `every` (each",
        "k-th) and `chance` (this share); `reference` narrows it to the charges of one order. The first rule that hits a call decides.",
        "`chance` is drawn from the seed, the rule's place, the reference and how many calls with it there were: the same orders meet the",
        "same faults again, however their requests interleave.\n",
        "The lists of charges and refunds and the balance always tell what is in the books; a rule that lies does so in one answer only.\n",
        "| do | on | fields | what happens |",
        "|---|---|---|---|",
        *(_row(rule) for rule in RULES),
        "",
        "## Settings\n",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    for field in settings.describe(SandboxSettings):
        default = "required" if field.required else f"`{field.default}`" if field.default else ""
        lines.append(f"| `{field.env}` | {default} | {field.meaning} |")
    return "\n".join([*lines, ""])


def _row(rule: type[Rule]) -> str:
    kinds = "any call" if rule.ON == CALLS else "anything" if frozenset(On) == rule.ON else ", ".join(sorted(rule.ON))
    fields = [
        f"`{field.name}` ({_default(field.default)})"
        for field in msgspec.structs.fields(rule)
        if field.name not in _WHICH
    ]
    meaning = " ".join(inspect.cleandoc(rule.__doc__ or "").split())
    return f"| `{rule.__struct_config__.tag}` | {kinds} | {', '.join(fields)} | {meaning} |"


def _default(value: Any) -> str:
    return json.dumps(value)
