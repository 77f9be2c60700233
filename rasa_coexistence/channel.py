"""What Rasa sees: an input channel to put into ``credentials.yml``."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

from rasa.core.channels.channel import InputChannel, OutputChannel, UserMessage
from sanic import Blueprint, Sanic

from rasa_coexistence.routes import blueprint
from rasa_coexistence.service import Service
from rasa_coexistence.settings import Settings
from rasa_coexistence.to_rasa import INPUT_CHANNEL

SWITCH_SECONDS = 0.0005
M_MMAP_THRESHOLD = -3  # of malloc.h
LARGE_BYTES = 2 * 1024 * 1024


class CoexistenceInput(InputChannel):
    """A WhatsApp number that a person on the phone and a Rasa bot answer together.

    Turns are run by a worker of our own, not by ``on_new_message``: they must outlive the webhook's request,
    keep their order, and be done once across crashes and replicas.
    """

    def __init__(self, settings: Settings) -> None:
        self._app: Sanic | None = None
        self.service = Service(settings, self._agent)

    @classmethod
    def name(cls) -> str:
        """Return the name of the channel, and of its routes under ``/webhooks``."""
        return INPUT_CHANNEL

    @classmethod
    def from_credentials(cls, credentials: dict[str, Any] | None) -> CoexistenceInput:
        """Return a channel for the block of ``credentials.yml``; raise ConfigError, listing every problem."""
        return cls(Settings.from_credentials(credentials))

    def blueprint(self, on_new_message: Callable[[UserMessage], Awaitable[Any]]) -> Blueprint:
        """Return the routes; they start and stop the worker with the server."""
        _prepare_python()
        routes = blueprint(self.service)
        routes.listener("after_server_start")(self._start)
        routes.listener("before_server_stop")(self._stop)
        return routes

    def get_output_channel(self) -> OutputChannel:
        """Return what external triggers and reminders speak through."""
        return self.service.output_channel()

    def _agent(self) -> Any:
        # Asked for at each use: Rasa replaces the agent when it pulls a new model.
        agent = getattr(self._app.ctx, "agent", None) if self._app is not None else None
        _spare(getattr(getattr(agent, "processor", None), "graph_runner", None))
        return agent

    async def _start(self, app: Sanic, _loop: Any) -> None:
        self._app = app
        await self.service.start()

    async def _stop(self, _app: Sanic, _loop: Any) -> None:
        await self.service.stop()


def _prepare_python() -> None:
    """Set the process up for threads that work beside an event loop for which customers wait."""
    # A thread that computes would keep the event loop waiting for 5 ms each time it has something to do.
    sys.setswitchinterval(min(SWITCH_SECONDS, sys.getswitchinterval()))
    # A driver makes copies of each webhook of several megabytes, and glibc would come to keep their room for
    # the thread that had it: 150 MB after a history, with PostgreSQL. Other libraries have no such function.
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)


_spared: weakref.WeakSet[Any] = weakref.WeakSet()  # models; the collector is one for the process


def _spare(model: Any) -> None:
    """Keep what stays, Rasa and its new model, out of the search for garbage; let go of the model before.

    To look through all of it stops every conversation for a third of a second, and old chat by the thousand
    makes Python look often.
    """
    if model is None or model in _spared:
        return
    _spared.add(model)
    gc.unfreeze()
    gc.collect()
    gc.freeze()
