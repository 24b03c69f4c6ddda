"""What goes over the wire: bodies are checked, errors say what is wrong and never repeat it, signatures match their vector."""

from __future__ import annotations

import pytest

from tradewind.chassis.errors import Conflict, Invalid, NotFound, Unauthenticated, Unavailable
from tradewind.sandbox.signature import sign
from tradewind.sandbox.wire import CreateCharge, decode_body, error_body


def test_a_signature_matches_its_vector() -> None:
    # printf '1700000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_vector
    digest = "c6014fd4b390b4bc9c887a309c78277b7c4c562fbe61a9e713bfc5da054789da"
    assert sign("whsec_vector", b'{"id":"evt_1"}', 1_700_000_000) == f"t=1700000000,v1={digest}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "parameter_invalid"),
        (b"{", "malformed_json"),
        (b"\xff\xfe", "malformed_json"),
        (b"[]", "parameter_invalid"),
        (b'{"amount_minor":0,"currency":"EUR","payment_method":"x","reference":"r"}', "parameter_invalid"),
        (b'{"amount_minor":1.5,"currency":"EUR","payment_method":"x","reference":"r"}', "parameter_invalid"),
        (b'{"amount_minor":"1","currency":"EUR","payment_method":"x","reference":"r"}', "parameter_invalid"),
        (b'{"amount_minor":1,"currency":"eur","payment_method":"x","reference":"r"}', "parameter_invalid"),
        (b'{"amount_minor":1,"currency":"EUR","payment_method":"x","reference":""}', "parameter_invalid"),
        (b'{"amount_minor":1,"currency":"EUR","payment_method":"x","reference":"r","cvc":"123"}', "parameter_invalid"),
    ],
)
def test_a_wrong_body_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        decode_body(body, CreateCharge)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert "123" not in refused.value.detail


@pytest.mark.parametrize(
    ("problem", "kind"),
    [
        (Invalid("parameter_invalid"), "invalid_request_error"),
        (NotFound("charge_not_found"), "invalid_request_error"),
        (Conflict("refund_exceeds_captured"), "invalid_request_error"),
        (Conflict("idempotency_key_reused"), "idempotency_error"),
        (Unauthenticated("api_key_invalid"), "authentication_error"),
        (Unavailable("outage"), "api_error"),
    ],
)
def test_errors_have_a_type(problem: Invalid, kind: str) -> None:
    assert error_body(problem).error.type == kind
