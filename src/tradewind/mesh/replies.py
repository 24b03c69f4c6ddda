"""Envoy's own replies as RFC 9457 problems, in the same form the services use.

Only replies that Envoy makes are rewritten; what a service answers passes through untouched.
"""

from __future__ import annotations

import msgspec

from tradewind.mesh.envoy_json import Json, extension, set_header

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:tradewind:problem:"
REQUEST_ID = "%REQUEST_HEADER(X-REQUEST-ID)%"
CONNECTION_ID = "connection-%CONNECTION_ID%"
"""Stands in for the request id where the request was too broken to get one; the access log has it too."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of refusal. `because` narrows a status by a piece of Envoy's response code details, `in_the_mesh` to callers
    with a certificate.

    `instead_of` is the status Envoy would give by itself, where that is not the one we promise. Status 0: whatever it is.
    """

    status: int
    code: str
    title: str
    detail: str
    because: str = ""
    in_the_mesh: bool = False
    instead_of: int = 0
    retry_after_s: int = 0


REPLIES = (
    Reply(
        status=0, code="injected-fault", title="Injected fault", because="fault_filter_abort",
        detail="An operator makes this operation fail for a while, on purpose.",
    ),
    Reply(
        status=503, code="maintenance", title="Temporarily unavailable", because="policy[maintenance]", instead_of=403,
        detail="This is under maintenance; Retry-After says when to come back.",
    ),
    Reply(
        status=401, code="token-missing", title="Authentication required", because="Jwt_is_missing",
        detail="Send Authorization: Bearer <access token>.",
    ),
    Reply(
        status=401, code="token-expired", title="Authentication required", because="Jwt_is_expired",
        detail="The access token has expired; refresh it.",
    ),
    Reply(status=401, code="token-invalid", title="Authentication required", detail="The access token is not valid."),
    Reply(
        status=401, code="token-invalid", title="Authentication required", because="jwt_authn", instead_of=403,
        detail="The access token is meant for somebody else.",
    ),
    Reply(
        status=403, code="upgrade-refused", title="Forbidden", because="upgrade_failed",
        detail="This path does not become another protocol.",
    ),
    Reply(
        status=403, code="call-not-allowed", title="Forbidden", because="rbac_access_denied", in_the_mesh=True,
        detail="The policy of the mesh does not allow this caller this operation.",
    ),
    Reply(
        status=403, code="role-required", title="Forbidden", because="rbac_access_denied",
        detail="This needs a role or a scope that the access token does not hold.",
    ),
    Reply(status=404, code="not-found", title="Not found", detail="There is nothing at this path."),
    Reply(status=405, code="method-not-allowed", title="Invalid request", detail="See Allow for what this path takes."),
    Reply(status=408, code="request-timeout", title="Invalid request", detail="The request took too long to arrive."),
    Reply(status=413, code="body-too-large", title="Invalid request", detail="The body is longer than this path takes."),
    Reply(status=426, code="http-version", title="Invalid request", detail="Speak HTTP/1.1 or HTTP/2."),
    Reply(status=429, code="rate-limited", title="Too many requests", detail="Slow down; Retry-After says for how long."),
    Reply(status=431, code="headers-too-large", title="Invalid request", detail="The headers are too many or too long."),
    Reply(status=400, code="malformed-request", title="Invalid request", detail="This is not a well-formed request."),
    Reply(
        status=400, code="malformed-request", title="Invalid request", instead_of=501,
        detail="Of the transfer encodings only chunked is understood.",
    ),
    Reply(
        status=503, code="overloaded", title="Temporarily unavailable", because="overflow", retry_after_s=1,
        detail="Too many requests are under way.",
    ),
    Reply(
        status=503, code="overloaded", title="Temporarily unavailable", because="overload", retry_after_s=1,
        detail="The gateway is short of memory or connections.",
    ),
    Reply(
        status=503, code="upstream-unavailable", title="Temporarily unavailable", retry_after_s=1,
        detail="The service behind this path is not answering.",
    ),
    Reply(
        status=504, code="upstream-timeout", title="Temporarily unavailable", retry_after_s=1,
        detail="The service behind this path took too long; the outcome is unknown.",
    ),
)  # fmt: skip

OTHERWISE = Reply(status=0, code="gateway-error", title="Gateway error", detail="The gateway could not pass this on.")


def local_replies() -> Json:
    """The `local_reply_config` of both listeners."""
    unnamed = {"header_filter": {"header": {"name": "x-request-id", "present_match": True, "invert_match": True}}}
    mappers = []
    for reply in REPLIES:
        status = reply.instead_of or reply.status
        conditions: list[Json] = [_status_is(status)] if status else []
        if reply.because:
            conditions.append(_because(reply.because, in_the_mesh=reply.in_the_mesh))
        mappers.append(_mapper(reply, [*conditions, unnamed], CONNECTION_ID))
        mappers.append(_mapper(reply, conditions, REQUEST_ID))
    return {"mappers": mappers, "body_format": _body(OTHERWISE, REQUEST_ID)}


def _mapper(reply: Reply, conditions: list[Json], request_id: str) -> Json:
    mapper: Json = {
        "filter": conditions[0] if len(conditions) == 1 else {"and_filter": {"filters": conditions}},
        "body_format_override": _body(reply, request_id),
    }
    if reply.instead_of:
        mapper["status_code"] = reply.status
    if reply.retry_after_s:
        mapper["headers_to_add"] = [set_header("retry-after", str(reply.retry_after_s))]
    return mapper


def _body(reply: Reply, request_id: str) -> Json:
    return {
        "json_format": {
            "type": TYPE_PREFIX + reply.code,
            "title": reply.title,
            "status": reply.status or "%RESPONSE_CODE%",
            "detail": reply.detail,
            "code": reply.code,
            "request_id": request_id,
        },
        "content_type": MEDIA_TYPE,
    }


def _status_is(status: int) -> Json:
    # Envoy wants a runtime key even where nobody will ever override the value.
    value = {"default_value": status, "runtime_key": "tradewind.unused"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _because(detail: str, *, in_the_mesh: bool) -> Json:
    expression = f"response.code_details.contains('{detail}')"
    return {
        "extension_filter": extension(
            "cel",
            "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
            expression=f"connection.mtls && {expression}" if in_the_mesh else expression,
        )
    }
