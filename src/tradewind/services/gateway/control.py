"""The control door: the registry, xDS and the status of the mesh, on a port of their own that no edge route reaches."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Annotated, Any, TypeVar

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from tradewind.chassis.errors import PROBLEM_MEDIA_TYPE, Invalid, NotFound, Problem, problem_document
from tradewind.chassis.logs import get_logger
from tradewind.mesh.description import Registration, Room
from tradewind.mesh.interventions import Order
from tradewind.mesh.rate_limits import ADDRESS_HEADER, SUBJECT_HEADER
from tradewind.mesh.shared_limits import PATH as LIMITS_PATH
from tradewind.mesh.xds import KINDS, Poll
from tradewind.services.gateway import interventions, usecases
from tradewind.services.gateway.data_plane import data_plane, published_resources
from tradewind.services.gateway.parts import Parts
from tradewind.services.gateway.shared_limits import ask_shared_limit

MAX_BODY_BYTES = 4 * 1024 * 1024

T = TypeVar("T")
Handler = Callable[[Parts, Request], Awaitable[Response]]
_log = get_logger(__name__)


class _LeaseBody(msgspec.Struct):
    lease_id: str


class _CertificateBody(msgspec.Struct):
    room: Room
    request: Annotated[str, msgspec.Meta(max_length=8_192)]


def control_app(parts: Parts) -> ASGIApp:
    """The application of the control port."""
    routes = [
        Route("/v1/instances", _endpoint(parts, _register), methods=["POST"]),
        Route("/v1/instances", _endpoint(parts, _list), methods=["GET"]),
        Route("/v1/instances/{instance}/lease", _endpoint(parts, _renew), methods=["PUT"]),
        Route("/v1/instances/{instance}", _endpoint(parts, _deregister), methods=["DELETE"]),
        Route("/v1/interventions", _endpoint(parts, _begin), methods=["POST"]),
        Route("/v1/interventions", _endpoint(parts, _interventions), methods=["GET"]),
        Route("/v1/interventions/{id}", _endpoint(parts, _end), methods=["DELETE"]),
        Route("/v1/registry", _endpoint(parts, _registry), methods=["GET"]),
        Route("/v1/certificates", _endpoint(parts, _certify), methods=["POST"]),
        Route("/v1/mesh", _endpoint(parts, _status), methods=["GET"]),
        Route("/v1/mesh/data-plane", _endpoint(parts, _data_plane), methods=["GET"]),
        Route("/v1/mesh/resources", _endpoint(parts, _resources), methods=["GET"]),
        Route("/v3/discovery:{kind}", _endpoint(parts, _discover), methods=["POST"]),
        Route(
            LIMITS_PATH + "/{path:path}", _endpoint(parts, _limit), methods=["GET", "POST", "PUT", "PATCH", "DELETE"]
        ),
    ]
    return Starlette(routes=routes)


def _endpoint(parts: Parts, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        try:
            return await handler(parts, request)
        except Problem as problem:
            _log.warning("refused", path=request.url.path, code=problem.code, detail=problem.detail)
            return Response(
                msgspec.json.encode(problem_document(problem)), problem.status, problem.headers, PROBLEM_MEDIA_TYPE
            )

    return endpoint


async def _register(parts: Parts, request: Request) -> Response:
    peer = request.client.host if request.client else ""
    registration = await _body(request, Registration)
    lease = await usecases.register_instance(parts, _token(request), registration, peer=peer)
    return _json(lease, 201)


async def _list(parts: Parts, request: Request) -> Response:
    return _json({"items": usecases.list_instances(parts, _token(request))})


async def _renew(parts: Parts, request: Request) -> Response:
    body = await _body(request, _LeaseBody)
    usecases.renew_lease(parts, _token(request), request.path_params["instance"], body.lease_id)
    return Response(status_code=204)


async def _deregister(parts: Parts, request: Request) -> Response:
    await usecases.deregister_instance(parts, _token(request), request.path_params["instance"])
    return Response(status_code=204)


async def _begin(parts: Parts, request: Request) -> Response:
    order = await _body(request, Order)
    return _json(await interventions.begin_intervention(parts, _token(request), order), 201)


async def _interventions(parts: Parts, request: Request) -> Response:
    return _json({"items": await interventions.list_interventions(parts, _token(request))})


async def _end(parts: Parts, request: Request) -> Response:
    await interventions.end_intervention(parts, _token(request), request.path_params["id"])
    return Response(status_code=204)


async def _registry(parts: Parts, _request: Request) -> Response:
    return _json(usecases.registry_standing(parts))


async def _certify(parts: Parts, request: Request) -> Response:
    body = await _body(request, _CertificateBody)
    return _json(usecases.issue_certificate(parts, _token(request), body.room, body.request.encode()), 201)


async def _status(parts: Parts, request: Request) -> Response:
    usecases.require_reader(parts, _token(request))
    await usecases.observe_envoy(parts)
    return _json(usecases.mesh_status(parts))


async def _data_plane(parts: Parts, request: Request) -> Response:
    usecases.require_reader(parts, _token(request))
    return _json(await data_plane(parts))


async def _limit(parts: Parts, request: Request) -> Response:
    told = request.headers
    found = await ask_shared_limit(parts, subject=told.get(SUBJECT_HEADER, ""), address=told.get(ADDRESS_HEADER, ""))
    return Response(status_code=200 if found.passes else 429, headers=found.headers)


async def _resources(parts: Parts, request: Request) -> Response:
    return _json(await published_resources(parts, _token(request)))


async def _discover(parts: Parts, request: Request) -> Response:
    kind = next((known for known in KINDS if known == request.path_params["kind"]), None)
    if kind is None:
        raise NotFound("kind-unknown", f"There are {', '.join(KINDS)}.")
    usecases.require_proxy(parts, _token(request))
    poll = await _body(request, Poll)
    answer = await _while_connected(request, usecases.next_resources(parts, kind, poll))
    return Response(status_code=304) if answer is None else Response(answer, media_type="application/json")


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T | None:
    """What `work` gives, or None once the client is gone: an Envoy that died must not count as one that still polls."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        working.cancel()
        leaving.cancel()


def _token(request: Request) -> str:
    return request.headers.get("authorization", "").removeprefix("Bearer ")


async def _body(request: Request, kind: type[T]) -> T:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise Invalid("body-too-large", f"At most {MAX_BODY_BYTES} bytes.", status=413)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as exc:
        raise Invalid("invalid", f"{exc}.") from exc
    except msgspec.DecodeError as exc:
        raise Invalid("malformed-json", f"{exc}.", status=400) from exc


def _json(content: object, status: int = 200) -> Response:
    return Response(msgspec.json.encode(content, enc_hook=_plain), status, media_type="application/json")


def _plain(value: object) -> object:
    if isinstance(value, Mapping):  # a read-only one, as tables of constants are
        return dict(value)
    raise NotImplementedError(type(value))
