"""Call Meta's Graph API: one HTTP request a method, every failure a GraphError.

There is deliberately no call that registers a number: it would take the number out of the owner's phone.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from rasa_coexistence.events import JSON
from rasa_coexistence.graph import answers, download
from rasa_coexistence.graph.answers import (
    AppSubscription,
    BusinessToken,
    Hello,
    MediaUrl,
    PhoneNumber,
    Receipt,
    SubscribedApp,
    TokenFacts,
)
from rasa_coexistence.graph.download import Download
from rasa_coexistence.graph.errors import GraphError, Verdict
from rasa_coexistence.graph.transport import Transport, segment

NUMBER_FIELDS = "id,display_phone_number,verified_name,is_on_biz_app,platform_type,quality_rating,status"
LARGEST_MEDIA = 100 * 1024 * 1024  # what a customer may send
_NUMBERS_A_PAGE = "100"

Value = TypeVar("Value")


class GraphClient:
    """Meta's Graph API at ``graph_url``; keeps no token."""

    def __init__(
        self,
        graph_url: str = "https://graph.facebook.com",
        graph_version: str = "v26.0",
        *,
        connect_seconds: float = 5.0,
        total_seconds: float = 20.0,
    ) -> None:
        self._graph_url = graph_url.rstrip("/")
        self._base = f"{self._graph_url}/{graph_version.strip('/')}"
        self._transport = Transport(connect_seconds=connect_seconds, total_seconds=total_seconds)

    async def close(self) -> None:
        """Close all connections; later calls raise a GraphError whose verdict is NOT_SENT."""
        await self._transport.close()

    async def hello(self) -> Hello:
        """Ask for nothing, without a token: whatever Meta answers tells its time, and what it knows."""
        _status, date, raw = await self._transport.look(f"{self._base}/me")
        hello = answers.read_hello(date, raw)
        return _expect(hello, repeatable=True)

    async def send_message(self, phone_number_id: str, body: JSON, *, access_token: str) -> Receipt:
        """Hand a whole message to Meta; there is no way to do so twice for sure only once."""
        answer = await self._transport.call(
            "POST",
            f"{self._base}/{segment(phone_number_id)}/messages",
            token=access_token,
            body={"messaging_product": "whatsapp", **body},
        )
        return _expect(answers.read_receipt(answer), repeatable=False)

    async def mark_read(
        self, phone_number_id: str, wamid: str, *, access_token: str, typing: bool = False
    ) -> None:
        """Show the customer that a message was read, and with ``typing`` for 25 s that an answer comes."""
        body: JSON = {"messaging_product": "whatsapp", "status": "read", "message_id": wamid}
        if typing:
            body["typing_indicator"] = {"type": "text"}
        answer = await self._transport.call(
            "POST",
            f"{self._base}/{segment(phone_number_id)}/messages",
            token=access_token,
            body=body,
            repeatable=True,
        )
        _expect_success(answer)

    async def media(
        self, media_id: str, *, access_token: str, phone_number_id: str | None = None
    ) -> MediaUrl:
        """Ask where a file is; with ``phone_number_id`` only if it came to that number."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/{segment(media_id)}",
            token=access_token,
            query={"phone_number_id": phone_number_id} if phone_number_id else None,
            repeatable=True,
        )
        return _expect(answers.read_media_url(answer), repeatable=True)

    def download(
        self, url: str, *, access_token: str, most_bytes: int = LARGEST_MEDIA
    ) -> AbstractAsyncContextManager[Download]:
        """Open a file for reading in pieces; the token goes to Meta's hosts and ``graph_url`` only."""
        return download.download(
            self._transport, url, access_token=access_token, graph_url=self._graph_url, most_bytes=most_bytes
        )

    async def exchange_code(self, app_id: str, app_secret: str, code: str) -> BusinessToken:
        """Change a sign-up's code, which lives 30 seconds and works once, into a token."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/oauth/access_token",
            query={"client_id": app_id, "client_secret": app_secret, "code": code},
            secrets=[app_secret, code],
        )
        return _expect(answers.read_business_token(answer), repeatable=False)

    async def debug_token(self, token: str, app_id: str | None, app_secret: str) -> TokenFacts:
        """Ask what a token may do and until when; without ``app_id`` the token asks about itself."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/debug_token",
            token=token if app_id is None else f"{app_id}|{app_secret}",
            query={"input_token": token},
            repeatable=True,
            secrets=[token, app_secret],
        )
        return _expect(answers.read_token_facts(answer), repeatable=True)

    async def phone_numbers(self, waba_id: str, *, access_token: str) -> list[PhoneNumber]:
        """List the numbers of a WABA, the first hundred."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/{segment(waba_id)}/phone_numbers",
            token=access_token,
            query={"fields": NUMBER_FIELDS, "limit": _NUMBERS_A_PAGE},
            repeatable=True,
        )
        return _expect(answers.read_phone_numbers(answer), repeatable=True)

    async def number(
        self, phone_number_id: str, *, access_token: str, fields: str = NUMBER_FIELDS
    ) -> PhoneNumber:
        """Ask about one number; other ``fields`` than the usual ones are in ``raw``."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/{segment(phone_number_id)}",
            token=access_token,
            query={"fields": fields},
            repeatable=True,
        )
        return _expect(answers.read_phone_number(answer), repeatable=True)

    async def subscribe_app(
        self,
        waba_id: str,
        *,
        access_token: str,
        override_callback_uri: str | None = None,
        verify_token: str | None = None,
    ) -> None:
        """Have a WABA's webhooks sent to the app; without an override this removes one that was set."""
        override = {"override_callback_uri": override_callback_uri, "verify_token": verify_token}
        answer = await self._transport.call(
            "POST",
            f"{self._base}/{segment(waba_id)}/subscribed_apps",
            token=access_token,
            body=override if override_callback_uri else None,
            repeatable=True,
        )
        _expect_success(answer)

    async def subscribed_apps(self, waba_id: str, *, access_token: str) -> list[SubscribedApp]:
        """List the apps that get a WABA's webhooks."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/{segment(waba_id)}/subscribed_apps",
            token=access_token,
            repeatable=True,
        )
        return _expect(answers.read_subscribed_apps(answer), repeatable=True)

    async def app_subscriptions(self, app_id: str, app_secret: str) -> list[AppSubscription]:
        """List the webhook fields that the app asked for."""
        answer = await self._transport.call(
            "GET",
            f"{self._base}/{segment(app_id)}/subscriptions",
            token=f"{app_id}|{app_secret}",
            repeatable=True,
            secrets=[app_secret],
        )
        return _expect(answers.read_app_subscriptions(answer), repeatable=True)

    async def request_sync(self, phone_number_id: str, sync_type: str, *, access_token: str) -> str | None:
        """Ask for ``history`` or ``smb_app_state_sync``, which Meta gives once; return its request id if any.

        After a GraphError with the verdict UNCLEAR the one try may be used up: webhooks will tell.
        """
        answer = await self._transport.call(
            "POST",
            f"{self._base}/{segment(phone_number_id)}/smb_app_data",
            token=access_token,
            body={"messaging_product": "whatsapp", "sync_type": sync_type},
        )
        request_id = answer.get("request_id")
        return str(request_id) if request_id else None


def _expect(value: Value | None, *, repeatable: bool) -> Value:
    if value is None:
        raise GraphError.unclear(
            "Meta's answer lacks what it should tell", http_status=200, repeatable=repeatable
        )
    return value


def _expect_success(answer: JSON) -> None:
    if answer.get("success") is False:
        raise GraphError("Meta answered that it did not do this", verdict=Verdict.STOP)
