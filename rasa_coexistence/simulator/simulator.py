"""Put the simulated Meta together: its rules, its server, its webhooks and two phones."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rasa_coexistence.simulator import webhooks
from rasa_coexistence.simulator.accounts import Accounts
from rasa_coexistence.simulator.chats import Chat, cut, declined
from rasa_coexistence.simulator.clock import Clock
from rasa_coexistence.simulator.deliveries import RETRY_SECONDS, Deliveries, Delivery
from rasa_coexistence.simulator.failures import Failures
from rasa_coexistence.simulator.media import MediaShelf
from rasa_coexistence.simulator.phones import CustomerPhone, OwnerPhone
from rasa_coexistence.simulator.sending import Sending
from rasa_coexistence.simulator.server import GraphServer
from rasa_coexistence.simulator.state import JSON, Call, Number, Person, Sent, Webhook, person


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What the app and its one number look like at Meta; more numbers can sign up later."""

    webhook_url: str | None = None
    app_secret: str = "simulated-app-secret"
    verify_token: str = "simulated-verify-token"
    access_token: str | None = "EAAsimulatedtoken"  # None: any token will do
    app_id: str = "1234500001"
    phone_number_id: str = "845237608662425"
    display_phone_number: str = "5215550000000"
    waba_id: str = "1001"
    verified_name: str = "La Tiendita"
    subscribed: bool = True
    retry_seconds: Sequence[float] = RETRY_SECONDS


class Simulator:
    """A local Cloud API, with the owner's phone and the customers' phones.

    Rules are in ``accounts``, ``sending`` and ``media``; ``failures`` makes calls fail, ``clock`` can be
    moved, ``deliveries`` posts webhooks, ``calls`` and ``sending.sent`` remember what the app did.
    """

    def __init__(self, setup: Setup | None = None) -> None:
        self.setup = setup = setup or Setup()
        self.clock = Clock()
        self.failures = Failures()
        self.calls: list[Call] = []
        self.media = MediaShelf(clock=self.clock)
        self.sending = Sending(clock=self.clock, has_media=self.media.has)
        self.accounts = Accounts(
            clock=self.clock,
            app_id=setup.app_id,
            app_secret=setup.app_secret,
            webhook_url=setup.webhook_url,
            any_token=setup.access_token is None,
        )
        self.deliveries = Deliveries(
            app_secret=setup.app_secret, retry_seconds=setup.retry_seconds, on_change=self.changed
        )
        self.number = self.accounts.add_number(
            Number(
                phone_number_id=setup.phone_number_id,
                display_phone_number=setup.display_phone_number,
                waba_id=setup.waba_id,
                verified_name=setup.verified_name,
            ),
            token=setup.access_token,
        )
        if setup.subscribed:
            self.accounts.subscribed[setup.waba_id] = None
        self.old_chats: dict[str, Sequence[Webhook]] = {}  # phone_number_id -> what a history request brings
        self.address_books: dict[str, Sequence[Person]] = {}
        self.server = GraphServer(self)
        self._changes: set[asyncio.Future[None]] = set()

    @property
    def url(self) -> str:
        """Return where it listens: the ``graph_url`` of the settings."""
        return self.server.url

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one."""
        await self.deliveries.start()
        await self.server.start(host, port)
        self.media.base_url = self.url

    async def stop(self) -> None:
        """Stop listening and posting."""
        await self.server.stop()
        await self.deliveries.stop()

    async def __aenter__(self) -> Simulator:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    def customer(self, wa_id: str, name: str | None = None, **others: object) -> CustomerPhone:
        """Return the phone of a customer; ``others`` are fields of Person."""
        return CustomerPhone(self, person(wa_id, name, **others))

    def customer_like(self, someone: Person) -> CustomerPhone:
        """Return the phone of this customer, for instance of one who hides their number."""
        return CustomerPhone(self, someone)

    def owner(self, number: Number | None = None) -> OwnerPhone:
        """Return the phone of the business."""
        return OwnerPhone(self, number or self.number)

    async def post(self, *told: Webhook, entries: int = 1) -> Delivery:
        """Post webhooks in one body and wait for the first try; later tries go on by themselves."""
        delivery = self.post_soon(*told, entries=entries)
        await delivery.tried.wait()
        return delivery

    def post_soon(self, *told: Webhook, entries: int = 1) -> Delivery:
        """Begin to post webhooks in one body."""
        body = webhooks.envelope(told, entries=entries, at=self.clock.now())
        return self.deliveries.post(body, self.accounts.address_for(told[0]))

    def tell_later(self, told: Sequence[Webhook]) -> None:
        """Post each webhook by itself, after its delay."""
        for webhook in told:
            self.deliveries.spawn(self._tell_one(webhook))

    async def _tell_one(self, webhook: Webhook) -> None:
        await asyncio.sleep(webhook.delay_seconds)
        await self.post(webhook)

    def give_old_chats(
        self, chats: Sequence[Chat], *, number: Number | None = None, messages_per_chunk: int = 100
    ) -> None:
        """Let the phone hold old chats; they come when the app asks for the history."""
        number = number or self.number
        chunks = cut(chats, now=self.clock.now(), messages_per_chunk=messages_per_chunk)
        self.old_chats[number.phone_number_id] = [chunk.webhook(number) for chunk in chunks]

    def take_sync_request(self, number: Number, body: JSON) -> tuple[JSON, Sequence[Webhook]]:
        """Answer a sync request, and tell what it brings: nothing if nobody is subscribed."""
        request_id = self.accounts.request_sync(number, body)
        brought: Sequence[Webhook] = ()
        if number.waba_id in self.accounts.subscribed:
            if body["sync_type"] == "smb_app_state_sync":
                people = self.address_books.get(number.phone_number_id, ())
                now = self.clock.now()
                brought = (
                    [webhooks.state_sync(number, [(one, False, now) for one in people])] if people else []
                )
            elif number.shares_history:
                brought = self.old_chats.get(number.phone_number_id, ())
            else:
                brought = [declined(number)]
        return {"messaging_product": "whatsapp", "request_id": request_id}, brought

    async def remove_partner(self, number: Number | None = None, **why: str) -> Delivery:
        """Let the owner disconnect; ``why`` is reason and by."""
        number = number or self.number
        delivery = await self.post(self.accounts.remove(number, **why))
        self.accounts.subscribed.pop(number.waba_id, None)
        return delivery

    def sent_to(self, key: str | None = None) -> list[Sent]:
        """Return what reached customers, or one of them by phone or BSUID, in order."""
        wanted = self.sending.person(key).key if key else None
        return [
            sent
            for sent in self.sending.sent
            if not sent.dropped and (wanted is None or sent.person.key == wanted)
        ]

    async def wait_for_sent(
        self, count: int = 1, *, to: str | None = None, timeout_seconds: float = 10
    ) -> list[Sent]:
        """Wait until so many messages were sent; raises TimeoutError."""
        await self.until(lambda: len(self.sent_to(to)) >= count, timeout_seconds=timeout_seconds)
        return self.sent_to(to)

    async def until(self, is_so: Callable[[], bool], *, timeout_seconds: float = 10) -> None:
        """Wait until something is so, looking after every call and delivery; raises TimeoutError."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_seconds
        while not is_so():
            left = end - loop.time()
            if left <= 0:
                raise TimeoutError("the simulator waited in vain")
            # Not wait_for: Python 3.10's forgets that it was cancelled when the change comes just then.
            change: asyncio.Future[None] = loop.create_future()
            self._changes.add(change)
            alarm = loop.call_later(min(left, 0.5), self._wake, change)
            try:
                await change
            finally:
                alarm.cancel()
                self._changes.discard(change)

    def changed(self) -> None:
        """Wake whoever waits for something."""
        for change in self._changes:
            self._wake(change)

    @staticmethod
    def _wake(change: asyncio.Future[None]) -> None:
        if not change.done():
            change.set_result(None)
