"""What the stand-in remembers, and what a request makes of it: PaymentIntents, their charges, refunds."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import Any

from tests.stripe_stand_in.description import Refused, fixture

PAGE = 10
CANCELLABLE = ("requires_payment_method", "requires_capture", "requires_confirmation", "requires_action", "processing")
DECLINES = {
    "pm_card_chargeDeclined": ("card_declined", "generic_decline"),
    "pm_card_chargeDeclinedInsufficientFunds": ("card_declined", "insufficient_funds"),
    "pm_card_chargeDeclinedLostCard": ("card_declined", "lost_card"),
    "pm_card_chargeDeclinedExpiredCard": ("expired_card", None),
    "pm_card_chargeDeclinedProcessingError": ("processing_error", None),
}
CHALLENGES = ("pm_card_authenticationRequired",)
APPROVES = ("pm_card_visa", "pm_card_mastercard", "pm_card_refundFail", "pm_card_pendingRefund")


class ApiError(Exception):
    """An answer that is not a success, in Stripe's shape."""

    def __init__(self, status: int, kind: str, code: str | None = None, message: str = "No.", **more: Any) -> None:
        super().__init__(f"{status} {kind} {code}")
        self.status = status
        self.body = {"error": {"type": kind, "message": message, **({"code": code} if code else {}), **more}}


class Books:
    """All objects, and `changed(type, object)`, which is told of each event."""

    def __init__(self, base_url: Callable[[], str]) -> None:
        self._base_url = base_url
        self._numbers = itertools.count(1)
        self.intents: dict[str, dict[str, Any]] = {}
        self.charges: dict[str, dict[str, Any]] = {}
        self.refunds: dict[str, dict[str, Any]] = {}
        self.searchable: set[str] = set()
        self.search_lags = False
        self.distort: Callable[[dict[str, Any]], None] = lambda _: None
        self.changed: Callable[[str, dict[str, Any]], None] = lambda *_: None

    # what the API does

    def create_intent(self, given: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/payment_intents."""
        if given["amount"] <= 0:
            raise Refused("parameter_invalid_integer", "amount", "This value must be greater than or equal to 1.")
        if "automatic_payment_methods" in given and "payment_method_types" in given:
            raise Refused("parameter_invalid", "payment_method_types", "Give one of the two.")
        if "return_url" in given and not given.get("confirm"):
            raise Refused("parameter_invalid", "return_url", "It may be given only when `confirm` is true.")
        method = given.get("payment_method")
        if method is not None and method not in (*DECLINES, *CHALLENGES, *APPROVES):
            raise ApiError(
                400, "invalid_request_error", "resource_missing", "No such PaymentMethod.", param="payment_method"
            )
        intent_id = f"pi_{next(self._numbers):06}"
        intent = fixture("payment_intent") | {
            "id": intent_id,
            "amount": given["amount"],
            "currency": given["currency"],
            "capture_method": given.get("capture_method", "automatic_async"),
            "client_secret": f"{intent_id}_secret_{next(self._numbers)}",
            "created": int(time.time()),
            "canceled_at": None,
            "automatic_payment_methods": None,
            "last_payment_error": None,
            "managed_payments": None,
            "metadata": given.get("metadata", {}),
            "next_action": None,
            "payment_method": method,
            "payment_method_configuration_details": None,
            "payment_method_types": given.get("payment_method_types", ["card"]),
            "processing": None,
            "shipping": None,
            "status": "requires_confirmation" if method else "requires_payment_method",
        }
        self.intents[intent_id] = intent
        if not self.search_lags:
            self.searchable.add(intent_id)
        self.changed("payment_intent.created", intent)
        if given.get("confirm"):
            self._confirm(intent, given)
        self.distort(intent)
        return intent

    def confirm_intent(self, intent_id: str, given: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/payment_intents/{intent}/confirm."""
        intent = self.find_intent(intent_id)
        if intent["status"] not in ("requires_payment_method", "requires_confirmation", "requires_action"):
            raise _unexpected_state(intent, "confirm")
        if "payment_method" in given:
            intent["payment_method"] = given["payment_method"]
        self._confirm(intent, given)
        return intent

    def capture_intent(self, intent_id: str, given: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/payment_intents/{intent}/capture."""
        intent = self.find_intent(intent_id)
        if intent["status"] != "requires_capture":
            raise _unexpected_state(intent, "capture")
        amount = given.get("amount_to_capture", intent["amount_capturable"])
        if amount > intent["amount_capturable"]:
            raise Refused("amount_too_large", "amount_to_capture", "It is more than is held.")
        charge = self.charges[intent["latest_charge"]]
        charge |= {"captured": True, "amount_captured": amount}
        intent |= {"status": "succeeded", "amount_capturable": 0, "amount_received": amount}
        self.distort(intent)
        self.changed("payment_intent.succeeded", intent)
        return intent

    def cancel_intent(self, intent_id: str, given: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/payment_intents/{intent}/cancel."""
        intent = self.find_intent(intent_id)
        if intent["status"] not in CANCELLABLE:
            raise _unexpected_state(intent, "cancel")
        intent |= {
            "status": "canceled",
            "canceled_at": int(time.time()),
            "cancellation_reason": given.get("cancellation_reason"),
            "amount_capturable": 0,
            "next_action": None,
        }
        self.changed("payment_intent.canceled", intent)
        return intent

    def find_intent(self, intent_id: str) -> dict[str, Any]:
        """Raises ApiError: 404."""
        if intent_id not in self.intents:
            raise ApiError(
                404,
                "invalid_request_error",
                "resource_missing",
                f"No such payment_intent: '{intent_id}'",
                param="intent",
            )
        return self.intents[intent_id]

    def list_intents(self, given: dict[str, Any]) -> dict[str, Any]:
        """GET /v1/payment_intents: newest first."""
        created = given.get("created", {})
        found = [
            intent
            for intent in reversed(self.intents.values())
            if isinstance(created, dict)
            and created.get("gte", 0) <= intent["created"] <= created.get("lte", intent["created"])
        ]
        return _page("/v1/payment_intents", found, given)

    def search_intents(self, given: dict[str, Any]) -> dict[str, Any]:
        """GET /v1/payment_intents/search, for the one form of query that we ask: metadata["name"]:"value"."""
        name, _, value = given["query"].removeprefix('metadata["').removesuffix('"').partition('"]:"')
        found = [
            intent
            for intent in self.intents.values()
            if intent["id"] in self.searchable and intent["metadata"].get(name) == value
        ]
        return {
            "object": "search_result",
            "url": "/v1/payment_intents/search",
            "data": found,
            "has_more": False,
            "next_page": None,
        }

    def create_refund(self, given: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/refunds."""
        intent = self.find_intent(given["payment_intent"])
        charge = self.charges.get(intent["latest_charge"] or "")
        if charge is None or not charge["captured"]:
            raise ApiError(400, "invalid_request_error", "charge_not_refundable", "There is nothing to refund.")
        left = charge["amount_captured"] - charge["amount_refunded"]
        if left == 0:
            raise ApiError(400, "invalid_request_error", "charge_already_refunded", "It has already been refunded.")
        amount = given.get("amount", left)
        if amount > left:
            raise ApiError(
                400, "invalid_request_error", None, "Refund amount is greater than unrefunded amount.", param="amount"
            )
        status = "pending" if intent["payment_method"] == "pm_card_pendingRefund" else "succeeded"
        refund = fixture("refund") | {
            "id": f"re_{next(self._numbers):06}",
            "amount": amount,
            "charge": charge["id"],
            "payment_intent": intent["id"],
            "created": int(time.time()),
            "currency": charge["currency"],
            "metadata": given.get("metadata", {}),
            "status": status,
        }
        self.refunds[refund["id"]] = refund
        charge["amount_refunded"] += amount
        charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
        self.distort(refund)
        self.changed("refund.created", refund)
        self.changed("charge.refunded", charge)
        return refund

    def list_refunds(self, given: dict[str, Any]) -> dict[str, Any]:
        """GET /v1/refunds: newest first."""
        wanted = given.get("payment_intent")
        found = [each for each in reversed(self.refunds.values()) if wanted in (None, each["payment_intent"])]
        return _page("/v1/refunds", found, given)

    # what happens at the customer's bank

    def authenticate(self, intent_id: str, *, approved: bool) -> None:
        """The customer is at the bank's page, and says yes or no."""
        intent = self.intents[intent_id]
        if intent["status"] != "requires_action":
            return
        intent["next_action"] = None
        if approved:
            self._settle(intent)
            return
        intent |= {
            "status": "requires_payment_method",
            "payment_method": None,
            "last_payment_error": {
                "type": "invalid_request_error",
                "code": "payment_intent_authentication_failure",
                "message": "The provided payment method has failed authentication.",
            },
        }
        self.changed("payment_intent.payment_failed", intent)

    def end_refund(self, refund_id: str, status: str) -> None:
        """A refund that was pending ends; what failed is back with the merchant."""
        refund = self.refunds[refund_id]
        refund["status"] = status
        if status in ("failed", "canceled"):
            refund["failure_reason"] = "lost_or_stolen_card"
            self.charges[refund["charge"]]["amount_refunded"] -= refund["amount"]
        self.changed("refund.updated", refund)

    def expanded(self, intent: dict[str, Any], expand: list[str]) -> dict[str, Any]:
        """The intent with its charge in it. Raises Refused."""
        if not set(expand) <= {"latest_charge"}:
            raise Refused("parameter_invalid", "expand", "This property cannot be expanded.")
        if not expand or intent["latest_charge"] is None:
            return intent
        return intent | {"latest_charge": self.charges[intent["latest_charge"]]}

    def _confirm(self, intent: dict[str, Any], given: dict[str, Any]) -> None:
        method = intent["payment_method"]
        if method is None:
            raise ApiError(400, "invalid_request_error", "parameter_missing", "There is no payment method.")
        intent["last_payment_error"] = None
        if method in DECLINES:
            raise self._decline(intent, *DECLINES[method])
        if method in CHALLENGES:
            self._challenge(intent, given.get("return_url"))
        else:
            self._settle(intent)

    def _challenge(self, intent: dict[str, Any], return_url: str | None) -> None:
        intent["status"] = "requires_action"
        if return_url is None:
            intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        else:
            url = f"{self._base_url()}/bank/{intent['id']}"
            intent["next_action"] = {
                "type": "redirect_to_url",
                "redirect_to_url": {"return_url": return_url, "url": url},
            }
        self.changed("payment_intent.requires_action", intent)

    def _settle(self, intent: dict[str, Any]) -> None:
        captured = intent["capture_method"] != "manual"
        amount = intent["amount"]
        self._charge(intent, {"captured": captured, "amount_captured": amount if captured else 0})
        intent |= {
            "status": "succeeded" if captured else "requires_capture",
            "amount_received": amount if captured else 0,
            "amount_capturable": 0 if captured else amount,
        }
        self.changed("payment_intent.succeeded" if captured else "payment_intent.amount_capturable_updated", intent)

    def _decline(self, intent: dict[str, Any], code: str, decline_code: str | None) -> ApiError:
        charge = self._charge(
            intent,
            {"paid": False, "status": "failed", "failure_code": code, "failure_message": "Your card was declined."},
        )
        error = {"type": "card_error", "code": code, "message": "Your card was declined.", "charge": charge["id"]}
        if decline_code:
            error["decline_code"] = decline_code
        intent |= {"status": "requires_payment_method", "payment_method": None, "last_payment_error": error}
        self.changed("payment_intent.payment_failed", intent)
        return ApiError(402, "card_error", code, error["message"], **_less(error), payment_intent=intent)

    def _charge(self, intent: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        charge = fixture("charge") | {
            "id": f"ch_{next(self._numbers):06}",
            "amount": intent["amount"],
            "currency": intent["currency"],
            "created": int(time.time()),
            "description": None,
            "metadata": dict(intent["metadata"]),
            "payment_intent": intent["id"],
            "payment_method": intent["payment_method"],
            **changes,
        }
        self.charges[charge["id"]] = charge
        intent["latest_charge"] = charge["id"]
        return charge


def _less(error: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in error.items() if name not in ("type", "code", "message")}


def _unexpected_state(intent: dict[str, Any], verb: str) -> ApiError:
    message = f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}."
    return ApiError(400, "invalid_request_error", "payment_intent_unexpected_state", message, payment_intent=intent)


def _page(url: str, found: list[dict[str, Any]], given: dict[str, Any]) -> dict[str, Any]:
    limit = given.get("limit", PAGE)
    if not 1 <= limit <= 100:
        raise Refused("parameter_invalid_integer", "limit", "It is none of 1 to 100.")
    ids = [each["id"] for each in found]
    start = ids.index(given["starting_after"]) + 1 if "starting_after" in given else 0
    return {"object": "list", "url": url, "data": found[start : start + limit], "has_more": start + limit < len(found)}
