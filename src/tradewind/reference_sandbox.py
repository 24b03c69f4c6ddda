"""The reference page of the sandbox's script and settings, written from the types that read them."""

from __future__ import annotations

import inspect
import json
from typing import Any

import msgspec

from tradewind.chassis import settings
from tradewind.sandbox.conditions import Control
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
_WEATHER = {
    "outage_s": "From now on it is away for so many seconds; 0 ends that. `/v1/_control` stays.",
    "outage_mode": "How it is away: `unavailable` answers 503 at once, `silent` nothing.",
    "latency_ms": "Time that each change takes at least.",
    "webhook_delay_ms": "How late each webhook sets out.",
    "webhook_double_percent": "Share of webhooks sent twice.",
    "webhook_shuffle": "`true`: webhooks that are close in time overtake each other.",
    "script": 'Rules of what goes wrong call by call, below. `{"rules": []}` ends a script.',
}
_SET_IT = """```sh
psp=$(tradewind ps --format json | python3 -c "
import json, sys
print(next(each['url'] for each in json.load(sys.stdin)['processes'] if each['name'] == 'psp-sandbox'))")
key=$(.venv/bin/python -c "from pathlib import Path; from tradewind.stack.state import State; print(State(Path('.tradewind')).secrets().get('sandbox_api_key'))")
curl -s $psp/v1/_control -H "authorization: Bearer $key" -d '{"latency_ms": 500}'
```
"""
_WHICH = tuple(field.name for field in msgspec.structs.fields(Rule))


def sandbox_page() -> str:
    """What can be made to go wrong at the sandbox provider, and how it is set up."""
    lines = ["# The sandbox provider\n"]
    lines += [
        "It stands in for a real payment provider (`TRADEWIND_ENV=dev` only), with books of its own. Everything that a provider may do",
        "wrong can be asked of it: by payment method, as weather for all, or call by call with a script.\n",
        "## Payment methods\n",
        ", ".join(f"`{name}`" for name in METHODS) + ".\n",
        "## Weather\n",
        "`POST /v1/_control` with the provider's API key changes it; what is absent stays. `GET` shows it. A restart forgets it.",
        "On a laptop:\n",
        _SET_IT,
        "| field | what it does |",
        "|---|---|",
        *(f"| `{field.name}` | {_WEATHER[field.name]} |" for field in msgspec.structs.fields(Control)),
        "",
        "## Script\n",
        "A script is played from its beginning when it is set and when the process starts: `PSP_SANDBOX_SCRIPT` (or `_FILE`) holds the",
        "one of the start, as what stands after `script` here. `GET /v1/_control` shows how many calls each rule was asked about and hit.\n",
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
