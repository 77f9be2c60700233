"""A local Cloud API that stands in for Meta, with the phones of the owner and of the customers.

Tests and the demo drive it alike::

    async with Simulator(Setup(webhook_url="http://127.0.0.1:5005/webhooks/whatsapp/webhook")) as meta:
        lucia = meta.customer("5215550001001", "Lucía")
        await lucia.writes("Hola")
        [answer] = await meta.wait_for_sent(to="5215550001001")

Its parts::

    simulator     all of it together
    server        HTTP; graph_calls: what each call does; control: the same from another process
    accounts      tokens, numbers, subscriptions, sign-up      (rules, no I/O)
    sending       messages, statuses, the 24-hour window       (rules, no I/O)
    limits, rates, refusals                                    what Meta refuses, and how it says so
    webhooks, chats, samples                                   what Meta posts
    deliveries, failures                                       how it is posted, how calls fail
    story, play, demo                                          what ``simulate`` and ``make demo`` show
"""

from rasa_coexistence.simulator.failures import FailureKind
from rasa_coexistence.simulator.phones import CustomerPhone, OwnerPhone, deliver
from rasa_coexistence.simulator.simulator import Setup, Simulator
from rasa_coexistence.simulator.state import Number, Person, Sent, Webhook

__all__ = [
    "CustomerPhone",
    "FailureKind",
    "Number",
    "OwnerPhone",
    "Person",
    "Sent",
    "Setup",
    "Simulator",
    "Webhook",
    "deliver",
]
