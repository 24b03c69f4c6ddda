"""Write tests/stripe_stand_in/openapi.json: the part of Stripe's published OpenAPI description that the stand-in needs.

    python -m tests.stripe_stand_in.extract

The description comes from the Go module `github.com/stripe/stripe-mock` (MIT), which embeds it; the module's version and
checksum are pinned here, and Go's checksum database holds the download to them. Nothing is changed but that prose,
operations we do not call, and objects that a response would only hold after an `expand` we do not ask for are left out.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

MODULE = "github.com/stripe/stripe-mock"
VERSION = "v0.203.0"
CHECKSUM = "h1:EzW7nb/fphqcAkgVRHAaC88OaAZo6SBWSl54cflDTio="
OPERATIONS = {
    "/v1/payment_intents": ("get", "post"),
    "/v1/payment_intents/search": ("get",),
    "/v1/payment_intents/{intent}": ("get",),
    "/v1/payment_intents/{intent}/cancel": ("post",),
    "/v1/payment_intents/{intent}/capture": ("post",),
    "/v1/payment_intents/{intent}/confirm": ("post",),
    "/v1/refunds": ("get", "post"),
}
EXPANDED = ("latest_charge",)
FIXTURES = {
    "payment_intent": ("source", "transfer_data"),
    "charge": ("receipt_url", "refunds", "source", "transfer_data"),
    "refund": (),
    "event": (),
}
"""Example objects, less the fields that only an `expand` would fill, or that lead somewhere."""
NOT_HELD = ("payment_method", "payment_source", "setup_intent", "review")
"""Schemas that no answer to us holds; an object of one is any object."""

PROSE = ("description", "summary", "externalDocs", "title")
TARGET = Path(__file__).parent / "openapi.json"


def extract() -> str:
    """Fetch the module, and cut. Raises SystemExit: it is another than the one pinned here."""
    folder = _module()
    source = folder / "embedded" / "openapi" / "spec3.json"
    whole = json.loads(source.read_bytes())
    fixtures = json.loads((folder / "embedded" / "openapi" / "fixtures3.json").read_bytes())["resources"]
    schemas = whole["components"]["schemas"]
    paths = {
        path: {method: _cut(_operation(whole["paths"][path][method])) for method in methods}
        for path, methods in OPERATIONS.items()
    }
    kept: dict[str, Any] = {}
    waiting = _references(paths) | {"event"}
    while waiting:
        name = waiting.pop()
        if name not in kept:
            kept[name] = {"type": "object"} if name in NOT_HELD else _cut(schemas[name])
            waiting |= _references(kept[name])
    made = {
        "source": f"{MODULE} {VERSION} {CHECKSUM} embedded/openapi/spec3.json",
        "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
        "info": {"version": whole["info"]["version"]},
        "paths": paths,
        "components": {"schemas": dict(sorted(kept.items()))},
        "fixtures": {
            name: {key: value for key, value in fixtures[name].items() if key not in without}
            for name, without in FIXTURES.items()
        },
    }
    return json.dumps(made, separators=(",", ":"), sort_keys=True) + "\n"


def _module() -> Path:
    with tempfile.TemporaryDirectory() as empty:
        said = subprocess.run(
            ["go", "mod", "download", "-json", f"{MODULE}@{VERSION}"], cwd=empty, check=True, capture_output=True
        )
    found = json.loads(said.stdout)
    if found["Sum"] != CHECKSUM:
        raise SystemExit(f"{MODULE} {VERSION} has the checksum {found['Sum']}, not {CHECKSUM}")
    return Path(found["Dir"])


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    return {name: operation[name] for name in ("parameters", "requestBody", "responses") if name in operation}


def _cut(node: Any, name: str = "") -> Any:
    if isinstance(node, list):
        return [_cut(each) for each in node]
    if not isinstance(node, dict):
        return node
    if "x-expansionResources" in node and name not in EXPANDED:
        return {"type": "string", **({"nullable": True} if node.get("nullable") else {})}
    if isinstance(node.get("properties"), dict):
        node = node | {"properties": {key: _cut(value, key) for key, value in node["properties"].items()}}
        return {key: value if key == "properties" else _cut(value) for key, value in node.items() if _kept(key, value)}
    return {key: _cut(value) for key, value in node.items() if _kept(key, value)}


def _kept(key: str, value: Any) -> bool:
    return not key.startswith("x-") and not (key in PROSE and isinstance(value, str))


def _references(node: Any) -> set[str]:
    if isinstance(node, list):
        return set().union(*map(_references, node)) if node else set()
    if not isinstance(node, dict):
        return set()
    found = set().union(*map(_references, node.values())) if node else set()
    if isinstance(node.get("$ref"), str):
        found.add(node["$ref"].rsplit("/", 1)[-1])
    return found


if __name__ == "__main__":
    TARGET.write_text(extract(), encoding="utf-8")
