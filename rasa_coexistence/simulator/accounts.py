"""Keep tokens, numbers, subscriptions and the sign-up, by Meta's rules."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.clock import Clock
from rasa_coexistence.simulator.refusals import Refusal
from rasa_coexistence.simulator.state import FIELDS, JSON, Code, Link, Number, Token, Webhook

CODE_SECONDS = 30
SYNC_SECONDS = 24 * 3600
SYNC_TYPES = {"smb_app_state_sync", "history"}
OVERRIDABLE = {"messages", "smb_message_echoes"}  # the rest goes to the app's own address
NUMBER_FIELDS = {
    "id",
    "display_phone_number",
    "verified_name",
    "is_on_biz_app",
    "platform_type",
    "quality_rating",
    "status",
    "name_status",
    "throughput",
    "health_status",
    "webhook_configuration",
    "code_verification_status",
}


@dataclass(kw_only=True)
class Accounts:
    """One app at Meta, the numbers that use it, and who may do what."""

    clock: Clock
    app_id: str = "1234500001"
    app_secret: str = "simulated-app-secret"
    webhook_url: str | None = None
    any_token: bool = False  # take every token that was not revoked: for a bot we did not configure
    numbers: dict[str, Number] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    app_fields: set[str] = field(default_factory=lambda: set(FIELDS))
    subscribed: dict[str, str | None] = field(default_factory=dict)  # WABA -> override
    alarms: list[str] = field(default_factory=list)  # what must never be called
    revoked: set[str] = field(default_factory=set)

    def add_number(self, number: Number, *, token: str | None = None) -> Number:
        """Take a number in, with a token for its WABA if one is given."""
        number.onboarded_at = number.onboarded_at or self.clock.now()
        self.numbers[number.phone_number_id] = number
        if token is not None:
            known = self.tokens.get(token, Token(waba_ids=()))
            known.waba_ids = tuple(dict.fromkeys((*known.waba_ids, number.waba_id)))
            self.tokens[token] = known
        return number

    def sign_up(
        self, number: Number, *, scopes: tuple[str, ...] | None = None, lifetime: float | None = None
    ) -> str:
        """Let an owner finish the Embedded Signup; returns the code that the browser gets."""
        now = self.clock.now()
        number.onboarded_at, number.link, number.syncs = now, Link.CONNECTED, {}
        self.add_number(number)
        token = f"EAA{secrets.token_hex(24)}"
        made = Token(waba_ids=(number.waba_id,), expires_at=now + lifetime if lifetime else 0.0)
        if scopes is not None:
            made.scopes = scopes
        self.tokens[token] = made
        code = f"AQ{secrets.token_hex(24)}"
        self.codes[code] = Code(token=token, issued_at=now)
        return code

    def exchange(self, client_id: str | None, client_secret: str | None, code: str | None) -> JSON:
        """Change a code into a token, once and within 30 seconds."""
        if client_id != self.app_id:
            raise Refusal(100, "Error validating application. Cannot get application info.", subcode=101)
        if client_secret != self.app_secret:
            raise Refusal(1, "Error validating client secret.")
        known = self.codes.get(code or "")
        if known is None:
            raise Refusal(100, "Invalid verification code format.", subcode=36008)
        if known.used:
            raise Refusal(100, "This authorization code has been used.", subcode=36009)
        if self.clock.now() - known.issued_at > CODE_SECONDS:
            raise Refusal(100, "This authorization code has expired.", subcode=36007)
        known.used = True
        token = self.tokens[known.token]
        answer: JSON = {"access_token": known.token, "token_type": "bearer"}
        if token.expires_at:
            answer["expires_in"] = int(token.expires_at - self.clock.now())
        return answer

    def debug_token(self, bearer: str | None, token: str) -> JSON:
        """Tell about a token; only the app itself, or the token, may ask."""
        if bearer not in (self.app_token, token) and not self.any_token:
            raise Refusal(190, "Invalid OAuth access token.")
        known = self.tokens.get(token)
        if known is None and self.any_token:
            known = Token(waba_ids=tuple(number.waba_id for number in self.numbers.values()))
        if known is None:
            error = {"code": 190, "message": "Invalid OAuth access token."}
            return {"data": {"error": error, "is_valid": False, "scopes": []}}
        granular = [{"scope": scope, "target_ids": list(known.waba_ids)} for scope in known.scopes]
        return {
            "data": {
                "app_id": self.app_id,
                "type": "SYSTEM_USER",
                "application": "Simulated app",
                "expires_at": int(known.expires_at),
                "is_valid": self._is_good(token, known),
                "issued_at": int(self.clock.now()),
                "scopes": list(known.scopes),
                "granular_scopes": granular,
            }
        }

    @property
    def app_token(self) -> str:
        """Return the token of the app itself."""
        return f"{self.app_id}|{self.app_secret}"

    def authorise(
        self, bearer: str | None, waba_id: str, scope: str = "whatsapp_business_management"
    ) -> None:
        """Raise the Refusal of a token that may not act for a WABA."""
        if not bearer:
            raise Refusal(2500, "An active access token must be used to query information.")
        if self.any_token and bearer not in self.tokens and bearer not in self.revoked:
            return
        token = self.tokens.get(bearer)
        if token is None or not self._is_good(bearer, token):
            raise Refusal(190, "The access token is invalid or has expired.")
        if waba_id not in token.waba_ids:
            raise Refusal(100, "The object does not exist or the token may not see it.", subcode=33)
        if scope not in token.scopes:
            raise Refusal(200, f"The token lacks the permission {scope}.")

    def revoke(self, token: str) -> None:
        """Make a token worthless from now on."""
        self.revoked.add(token)

    def number(self, phone_number_id: str) -> Number:
        """Return a number, or raise what Graph says of an object that is not there."""
        try:
            return self.numbers[phone_number_id]
        except KeyError:
            raise Refusal(100, f"Object with ID '{phone_number_id}' does not exist.", subcode=33) from None

    def describe(self, number: Number, fields: str | None) -> JSON:
        """Answer GET on a number with the fields that were asked for."""
        wanted = [name for name in (fields or "display_phone_number,verified_name").split(",") if name]
        for name in wanted:
            if name.split("{")[0] not in NUMBER_FIELDS:
                raise Refusal(100, f"Tried accessing nonexisting field ({name})")
        connected = number.link is Link.CONNECTED
        overrides = {"application": self.webhook_url} | number.webhook_configuration
        if self.subscribed.get(number.waba_id):
            overrides["whatsapp_business_account"] = str(self.subscribed[number.waba_id])
        known: JSON = {
            "display_phone_number": f"+{number.display_phone_number[:2]} {number.display_phone_number[2:]}",
            "verified_name": number.verified_name,
            "is_on_biz_app": number.is_on_biz_app,
            "platform_type": number.platform_type if connected else "NOT_APPLICABLE",
            "quality_rating": "GREEN",
            "status": "CONNECTED" if connected else "DISCONNECTED",
            "name_status": "APPROVED",
            "throughput": {"level": "STANDARD"},
            "health_status": {"can_send_message": "AVAILABLE" if connected else "BLOCKED"},
            "webhook_configuration": overrides,
            "code_verification_status": "VERIFIED",
        }
        return {name: known[name] for name in wanted if name in known} | {"id": number.phone_number_id}

    def numbers_of(self, waba_id: str, fields: str | None) -> JSON:
        """Answer GET on the numbers of a WABA."""
        found = [number for number in self.numbers.values() if number.waba_id == waba_id]
        return {"data": [self.describe(number, fields) for number in found]}

    def request_sync(self, number: Number, body: JSON) -> str:
        """Take the one request for history or contacts that an onboarding allows; returns its id."""
        sync_type = body.get("sync_type")
        if body.get("messaging_product") != "whatsapp" or sync_type not in SYNC_TYPES:
            raise Refusal(100, "Params messaging_product and sync_type are required.")
        if sync_type in number.syncs:
            raise Refusal(2593107, f"{sync_type} was already requested for this onboarding.")
        if self.clock.now() - number.onboarded_at > SYNC_SECONDS:
            raise Refusal(2593108, "More than 24 hours have passed since the onboarding.")
        number.syncs[sync_type] = self.clock.now()
        return secrets.token_hex(12)

    def refuse_registering(self, number: Number, action: str) -> JSON:
        """Refuse what would take the number out of the owner's phone, and raise the alarm."""
        self.alarms.append(f"/{number.phone_number_id}/{action} was called")
        raise Refusal(133016 if action == "register" else 100, f"{action} is not for a number of the app.")

    def address_for(self, webhook: Webhook) -> str | None:
        """Tell where Meta posts a webhook, if anywhere."""
        if webhook.field not in self.app_fields or webhook.waba_id not in self.subscribed:
            return None
        if webhook.field in OVERRIDABLE:
            number = self.numbers.get(webhook.phone_number_id or "")
            own = number.webhook_configuration.get("phone_number") if number else None
            return own or self.subscribed[webhook.waba_id] or self.webhook_url
        return self.webhook_url

    def offboard(self, number: Number) -> Webhook:
        """Let the owner change phones: sends fail, everything else stays."""
        number.link = Link.OFFBOARDED
        return webhooks.account_update(number, "ACCOUNT_OFFBOARDED")

    def reconnect(self, number: Number) -> Webhook:
        """Bring an offboarded number back."""
        number.link = Link.CONNECTED
        return webhooks.account_update(number, "ACCOUNT_RECONNECTED")

    def remove(self, number: Number, reason: str = "ACCOUNT_DISCONNECTED", by: str = "USER") -> Webhook:
        """Let the owner press Disconnect: tokens die."""
        number.link, number.is_on_biz_app = Link.REMOVED, False
        for token in self.tokens.values():
            token.waba_ids = tuple(waba for waba in token.waba_ids if waba != number.waba_id)
            token.valid = bool(token.waba_ids)
        return webhooks.account_update(
            number,
            "PARTNER_REMOVED",
            phone_number=number.display_phone_number,
            waba_info={"waba_id": number.waba_id, "owner_business_id": "3003"},
            disconnection_info={"reason": reason, "initiated_by": by},
        )

    def _is_good(self, name: str, token: Token) -> bool:
        if not token.valid or name in self.revoked:
            return False
        return not token.expires_at or token.expires_at > self.clock.now()
