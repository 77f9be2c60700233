"""WhatsApp Business coexistence for Rasa: a person on the phone and a bot answer one number.

The map, in the direction in which work goes::

    routes      what Meta and browsers see: check the signature, keep the bytes, answer 200
    channel     what Rasa sees: an input channel and an output channel
    worker      claim -> read -> decide -> do -> settle
    ledger      everything durable of ours
    pure        from_whatsapp, identity, takeover, to_rasa, to_whatsapp: no I/O at all
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
