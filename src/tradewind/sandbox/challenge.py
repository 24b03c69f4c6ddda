"""The page a customer's bank would show for `pm_card_authenticationRequired`. Plain HTML, no script, nothing loaded."""

from __future__ import annotations

from html import escape

from tradewind.sandbox.domain import Charge, Status

# The address carries a token: it must not leak in a Referer, nor the page be framed or kept.
PAGE_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 0 1rem; color: #1a2433; }}
button {{ font: inherit; padding: .5rem 1.25rem; margin-right: .5rem; border: 1px solid #1a4fa3; border-radius: 6px; }}
button[value=approve] {{ background: #1a4fa3; color: #fff; }}
button[value=decline] {{ background: #fff; color: #1a4fa3; }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""
_FORM = """<p>A shop asks for <strong>{amount}</strong>, reference {reference}. This is a test bank: no money moves.</p>
<form method="post">
<button name="decision" value="approve">Approve</button>
<button name="decision" value="decline">Decline</button>
</form>"""
_OUTCOMES = {
    Status.REQUIRES_CONFIRMATION: ("Payment approved", "Return to the shop to finish."),
    Status.AUTHORIZED: ("Payment approved", "The shop has confirmed it."),
    Status.SUCCEEDED: ("Payment approved", "The shop has confirmed it."),
    Status.FAILED: ("Payment declined", "No money was taken."),
    Status.CANCELLED: ("Payment cancelled", "The shop withdrew it. No money was taken."),
}


def challenge_page(charge: Charge) -> str:
    """The question while the answer is due, what came of it afterwards."""
    if charge.status is Status.REQUIRES_ACTION:
        amount = f"{charge.amount_minor} {charge.currency} (minor units)"
        form = _FORM.format(amount=escape(amount), reference=escape(charge.reference))
        return _PAGE.format(title="Approve this payment?", body=form)
    title, sentence = _OUTCOMES[charge.status]
    return _PAGE.format(title=title, body=f"<p>{sentence}</p>")


def missing_page() -> str:
    """What somebody without the right address sees."""
    return _PAGE.format(title="Nothing here", body="<p>This address is not, or no longer, valid.</p>")
