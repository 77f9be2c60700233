"""Say no as the Graph API does: code, title and envelope."""

from __future__ import annotations

from typing import Any

# code: (HTTP status, title). Clients are to decide on the code alone.
TITLES: dict[int, tuple[int, str]] = {
    0: (401, "AuthException"),
    1: (500, "API Unknown"),
    2: (503, "API Service"),
    3: (500, "API Method"),
    4: (400, "Application request limit reached"),
    10: (403, "Application does not have permission for this action"),
    33: (400, "Parameter value is not valid"),
    100: (400, "Invalid parameter"),
    190: (401, "Error validating access token"),
    200: (403, "Permissions error"),
    368: (403, "Temporarily blocked for policies violations"),
    2200: (400, "Callback verification failed"),
    2500: (400, "An active access token must be used to query information"),
    80007: (400, "Rate limit issues"),
    130403: (400, "User is blocked"),
    130429: (429, "Rate limit hit"),
    130472: (400, "User's number is part of an experiment"),
    130497: (403, "Business account is restricted from messaging users in this country"),
    131000: (500, "Something went wrong"),
    131005: (403, "Access denied"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131016: (503, "Service unavailable"),
    131021: (400, "Recipient cannot be sender"),
    131026: (400, "Message undeliverable"),
    131031: (403, "Account has been locked"),
    131037: (400, "Display name approval needed"),
    131042: (400, "Business eligibility payment issue"),
    131045: (500, "Incorrect certificate"),
    131047: (400, "Re-engagement message"),
    131048: (400, "Spam rate limit hit"),
    131049: (400, "This message was not delivered to maintain healthy ecosystem engagement"),
    131050: (400, "User has stopped marketing messages"),
    131051: (400, "Unsupported message type"),
    131052: (400, "Media download error"),
    131053: (400, "Media upload error"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
    131057: (500, "Account in maintenance mode"),
    131060: (400, "This message is currently unavailable."),
    131062: (400, "Business-scoped user id not allowed for this message"),
    132000: (400, "Template parameter count mismatch"),
    132001: (404, "Template does not exist"),
    132015: (400, "Template is paused"),
    132016: (400, "Template is disabled"),
    132069: (500, "Flow is throttled"),
    133004: (503, "Server temporarily unavailable"),
    133005: (400, "Two step verification PIN mismatch"),
    133010: (400, "Phone number not registered"),
    133016: (429, "Account register deregister rate limit exceeded"),
    2494100: (500, "Account in maintenance mode"),
    2593107: (400, "Synchronization request limit exceeded"),
    2593108: (400, "Synchronization request made outside of the allowed time window"),
    2593109: (400, "History sharing is turned off by the business"),
}


class Refusal(Exception):
    """Meta would not do this; ``code`` decides, ``details`` explains."""

    def __init__(self, code: int, details: str = "", *, subcode: int | None = None) -> None:
        self.code = code
        self.http_status, self.title = TITLES.get(code, (400, "Unknown error"))
        self.details = details or self.title
        self.subcode = subcode
        super().__init__(f"(#{code}) {self.title}: {self.details}")

    def envelope(self, trace_id: str = "AsimulatedTraceId00000") -> dict[str, Any]:
        """Return the JSON that Graph answers with."""
        error: dict[str, Any] = {
            "message": f"(#{self.code}) {self.title}",
            "type": "OAuthException",
            "code": self.code,
            "error_data": {"messaging_product": "whatsapp", "details": self.details},
            "fbtrace_id": trace_id,
        }
        if self.subcode is not None:
            error["error_subcode"] = self.subcode
        return {"error": error}

    def item(self) -> dict[str, Any]:
        """Return the form it has in ``errors[]`` of a webhook."""
        return {
            "code": self.code,
            "title": self.title,
            "message": self.title,
            "error_data": {"details": self.details},
            "href": "https://developers.facebook.com/docs/whatsapp/cloud-api/support/error-codes/",
        }
