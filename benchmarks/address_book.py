"""How long the address book of a busy phone takes: one webhook, from the post to the last row.

python benchmarks/address_book.py [--contacts 20000] [--times 5]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from typing import Any

import msgspec

from rasa_coexistence.ledger import syncs
from rasa_coexistence.service import Service
from rasa_coexistence.settings import Settings

NUMBER = "845237608662425"


def webhook(count: int, copy: int) -> bytes:
    """Return a webhook with many contacts; a later copy edits them."""
    people = [
        {
            "type": "contact",
            "action": "add",
            "metadata": {"timestamp": str(copy)},
            "contact": {
                "full_name": f"Customer {n}",
                "first_name": "Customer",
                "phone_number": f"52155{n:08d}",
                "user_id": f"MX.{n:012d}",
            },
        }
        for n in range(count)
    ]
    metadata = {"phone_number_id": NUMBER, "display_phone_number": "5215550783881"}
    value = {"messaging_product": "whatsapp", "metadata": metadata, "state_sync": people}
    change = {"field": "smb_app_state_sync", "value": value}
    envelope = {"object": "whatsapp_business_account", "entry": [{"id": "1001", "changes": [change]}]}
    return msgspec.json.encode(envelope)


async def measure(service: Service, body: bytes, received: int) -> tuple[float, float]:
    """Return after how many seconds a webhook was acknowledged, and filed."""
    began = time.perf_counter()
    await service.accept(body)
    acknowledged = time.perf_counter() - began
    while await contacts_of(service) < received:  # noqa: ASYNC110  # the ledger has no event for it
        await asyncio.sleep(0.05)
    return acknowledged, time.perf_counter() - began


async def contacts_of(service: Service) -> int:
    """Return how many contacts have been filed."""
    status: Any = await service.database.read(syncs.status, NUMBER)
    return int(status["contacts"]["received"])


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contacts", type=int, default=20_000)
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        block = {
            "verify_token": "benchmark-verify",
            "app_secret": "benchmark-secret",
            "phone_number_id": NUMBER,
            "database_url": f"sqlite:///{folder}/ledger.db",
        }
        service = Service(Settings.from_credentials(block), lambda: None)
        await service.start()
        for copy in range(1, given.times + 1):
            body = webhook(given.contacts, copy)
            acknowledged, filed = await measure(service, body, given.contacts * copy)
            size = len(body) / 1e6
            took = f"200 after {acknowledged:.2f} s, filed after {filed:.2f} s"
            print(f"{given.contacts} contacts, {size:.1f} MB: {took}")
        await service.stop()


if __name__ == "__main__":
    asyncio.run(main())
