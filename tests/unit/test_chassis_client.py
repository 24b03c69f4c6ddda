"""How a call to another service is written down and how its answer is read, without a wire between."""

from __future__ import annotations

import asyncio

import pytest

from tradewind.chassis import request_scope, trace
from tradewind.chassis.client import MeshClient, _url
from tradewind.chassis.errors import NotFound, Unavailable
from tradewind.chassis.metrics import Metrics


def url(path: str, **options: object) -> str:
    return str(_url("http://127.0.0.1:8081", path, options))


@pytest.mark.parametrize(
    ("value", "written"),
    [("plain", "plain"), ("..admin", "..admin"), ("a?b#c", "a%3Fb%23c"), ("é %2F", "%C3%A9%20%252F")],
)
def test_a_path_parameter_cannot_leave_its_place(value: str, written: str) -> None:
    found = url("/v1/users/{id}/addresses", path_params={"id": value})
    assert found == f"http://127.0.0.1:8081/v1/users/{written}/addresses"


@pytest.mark.parametrize("value", ["", ".", "..", "../../admin", "a/b", "a\\b"])
def test_a_path_parameter_that_would_change_the_path_names_nothing(value: str) -> None:
    with pytest.raises(NotFound):
        url("/v1/users/{id}/addresses", path_params={"id": value})


def test_query_parameters_are_quoted_and_none_is_left_out() -> None:
    found = url("/v1/x", params={"a": "1&2=3", "b": None, "c": True, "d": 5})
    assert found == "http://127.0.0.1:8081/v1/x?a=1%262%3D3&c=true&d=5"


async def test_what_goes_along_with_a_call() -> None:
    client = MeshClient("http://127.0.0.1:1", "order-service", metrics=Metrics())
    with trace.use_traceparent(None) as context, request_scope.use_request("r-1"):
        headers, body = client._prepare("user-service", 1.5, {"token": "t", "idempotency_key": "k", "body": {"a": 1}})
    assert body == b'{"a":1}'
    assert headers == {
        "host": "user-service",
        "x-tradewind-timeout-ms": "1500",
        "traceparent": context.traceparent,
        "x-request-id": "r-1",
        "authorization": "Bearer t",
        "idempotency-key": "k",
        "content-type": "application/json",
    }


async def test_a_call_whose_time_is_up_is_not_made() -> None:
    client = MeshClient("http://127.0.0.1:1", "order-service", metrics=Metrics())
    with request_scope.use_request("r-1", timeout_s=0.0), pytest.raises(Unavailable) as caught:
        await client.get("user-service", "/v1/users/me")
    assert caught.value.code == "deadline-exceeded"
    assert client._session is None


def test_the_time_that_is_left_shrinks_and_never_grows() -> None:
    assert request_scope.remaining_s(2.0) == 2.0
    with request_scope.use_request("outer", timeout_s=5.0):
        assert request_scope.remaining_s(2.0) == 2.0
        assert 4.0 < request_scope.remaining_s(60.0) <= 5.0
        assert request_scope.current_request_id() == "outer"
        with request_scope.use_request("stream"):
            assert request_scope.remaining_s(60.0) == 60.0
    assert request_scope.current_request_id() is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 0.001),
        ("2500", 2.5),
        ("600000", 600.0),
        (None, None),
        ("", None),
        ("0", None),
        ("600001", None),
        ("-5", None),
        ("1.5", None),
        ("9" * 50, None),
        ("١٢", None),
    ],
)
def test_a_timeout_header_is_a_bounded_number_or_nothing(header: str | None, seconds: float | None) -> None:
    assert request_scope.parse_timeout_ms(header) == seconds


async def test_a_stream_abandoned_in_another_task_breaks_nothing() -> None:
    async def stream():
        with request_scope.use_request("r-1"):
            yield 1

    source = stream()
    await anext(source)
    await asyncio.create_task(source.aclose())
