"""The payment provider stand-in: a process of its own that behaves as a real provider does.

Run     python -m tradewind.sandbox
Owns    one SQLite file in the folder PSP_SANDBOX_STATE: charges, refunds, idempotency keys, webhooks not yet delivered
Serves  the API below; /challenge/{charge_id}, the page a customer's bank would show; /livez
Emits   signed webhooks to PSP_SANDBOX_WEBHOOK_URL
Calls   nobody else. No service imports this package: it is reached through HTTP only, and only with TRADEWIND_ENV=dev

The API. `Authorization: Bearer PSP_SANDBOX_API_KEY`, JSON both ways. Errors are `{"error": {"type", "code",
"message"}}`; type is `invalid_request_error`, `authentication_error`, `idempotency_error`, `card_error` or
`api_error`.

    POST /v1/charges                {amount_minor, currency, payment_method, reference, metadata?, capture=true}
                                    201 charge; a decline: 402 `card_error`, its code the failure code, with
                                    error.charge; 400 payment_method_unknown, parameter_invalid, malformed_json,
                                    idempotency_key_required
    GET  /v1/charges                ?reference= &idempotency_key= &limit=1..1000 (20) &after=ID
                                    {items, next_cursor}, oldest first
    GET  /v1/charges/{id}           404 charge_not_found
    POST /v1/charges/{id}/capture   {amount_minor?} -> charge; 409 charge_not_capturable, capture_exceeds_authorized
    POST /v1/charges/{id}/confirm   after the action: succeeded or authorized, or 402; before it: requires_action again
    POST /v1/charges/{id}/cancel    voids what is not captured; 409 charge_not_cancellable
    POST /v1/refunds                {charge_id, amount_minor, reference} -> 201 refund; 409 refund_exceeds_captured
    GET  /v1/refunds                ?charge_id= &reference= &limit= &after=
    GET  /v1/balance                {items: [{currency, charges, refunds, captured_minor, refunded_minor, net_minor}]}
    GET  /v1/_control               the weather; POST makes it: see `conditions.py`

A charge: {id: "ch_...", status, amount_minor, amount_captured_minor, amount_refunded_minor, currency, payment_method,
reference, metadata, failure_code?, next_action?: {url}, created_at}. Status: succeeded, failed, requires_action,
authorized (`capture` was false), requires_confirmation (the action is done: confirm it), cancelled.
A refund: {id: "re_...", charge_id, status, amount_minor, currency, reference, created_at}. Status: succeeded, or by a
script pending first, then succeeded or failed; a pending one sets its amount aside and is not in amount_refunded_minor.

POST /v1/charges and /v1/refunds need an `Idempotency-Key` of 1 to 255 printable characters. The same key and body: the
first answer again, a decline too, with its status and `Idempotency-Replayed: true`. Another body: 409
`idempotency_key_reused`. A duplicate that arrives meanwhile waits. Keys live as long as the state folder; 400, 401, 404
and 5xx leave none. Capture, confirm and cancel need no key: repeating one answers the charge as it is.

A request without an answer has charged or not, and two questions settle it. GET /v1/charges?idempotency_key= shows a
charge that was stored; nothing there proves nothing while the request may still be under way (`pm_sandbox_slow` lands
after 3 s). The same POST with the same key answers with what was stored, or charges now, once.

Payment methods, and what each does, are the table in `methods.py`. Everything else that may go wrong is a script of
rules, call by call and seeded: `script.py`.

Webhooks: {id: "evt_...", type, created_at, data: {object}}. The type is `charge.<status>` or `refund.<status>`; the
object is the charge or refund as it was then. `Sandbox-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of
"t.rawbody">`. Anything but a 2xx within 5 s is tried again with back-off. They come late, twice and out of order:
deduplicate by `id`, and trust the charge, not the order of arrival.

Kept across `kill -9`: everything answered, and every webhook of it. An answer is sent after the commit that holds it.
"""
