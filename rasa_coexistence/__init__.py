"""WhatsApp Business coexistence for Rasa: a person on the phone and a bot answer one number.

The map. Imports go down this page, never up::

    what others see
        channel, service              what Rasa sees; all parts put together, started and stopped
        routes*, answering            what Meta, scripts and browsers see; Sanic's types end here
        pages, sessions, connect/, console/         the web pages and their login
        cli/, doctor/, export/        the command line
        simulator/                    a local Cloud API with two phones; knows nothing of the parts below

    the story
        worker, patience, courtesy    all loops; what is tried again; who goes first
        reading, steps                webhooks that were accepted -> rows
        talk, speech, turn, settling, context, presence     one conversation's next message -> a turn of Rasa
        handover, notify              person and bot give way to each other; a person is called
        outbox, sending               what may leave now -> Meta
        history, projection, publishing, history_parse      old chat -> Rasa's tracker store
        onboarding/, tokens           a number signs up, is watched, goes and comes back
        jobs, forget                  what the command line asks of the server

    effects, each owning one outside thing
        rasa_*, tracker_stores/       Rasa's agent, locks, events and stores
        graph/, media                 Meta's Graph API
        ledger/                       everything durable of ours

    pure: no I/O at all
        from_whatsapp/, events        a webhook's body -> our words
        takeover, identity            who may speak; what and who is the same
        to_rasa, to_whatsapp/         chat -> Rasa's events; Rasa's responses -> Cloud API bodies
        settings*, signature, records, errors
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rasa_coexistence.channel import CoexistenceInput

__version__ = "0.1.0"
__all__ = ["CoexistenceInput", "__version__"]


def __getattr__(name: str) -> Any:
    # Rasa asks for rasa_coexistence.CoexistenceInput; the command line starts sooner without Rasa.
    if name == "CoexistenceInput":
        from rasa_coexistence.channel import CoexistenceInput

        return CoexistenceInput
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
