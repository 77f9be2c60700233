"""Write to the terminal what happens, readable with and without colours."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rasa_coexistence.simulator.chats import Chunk

if TYPE_CHECKING:
    from rasa_coexistence.simulator.play import Outcome
    from rasa_coexistence.simulator.story import Story

BAR = 24
SYNC_LINE_SECONDS = 2.0  # at most one line of progress in so long


class Screen:
    """A terminal, or the file that stands for it."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False)
        self._last_sync = ("", 0.0)

    def say(self, text: str) -> None:
        """Say something in passing."""
        self._print(escape(text))

    def heading(self, text: str) -> None:
        """Begin a part."""
        self._print(f"\n[bold]{escape(text)}[/bold]")

    def remark(self, text: str) -> None:
        """Explain what is seen."""
        self._print(f"           [dim]({escape(text)})[/dim]")

    def problem(self, text: str) -> None:
        """Say what went wrong."""
        self._print(f"  [bold red]problem[/bold red]  {escape(text)}")

    @contextmanager
    def waiting(self, text: str) -> Iterator[None]:
        """Show that something takes a while, and how long it took."""
        begun = time.monotonic()
        self._print(f"{escape(text)} ...")
        with self._console.status(f"{escape(text)} ..."):
            yield
        self._print(f"  done in {time.monotonic() - begun:.0f} s")

    def question(self, name: str, text: str) -> None:
        """Show what a customer wrote."""
        self._print(f"  [dim]{_time()}[/dim] [bold cyan]{escape(name)}:[/bold cyan] {escape(text)}")

    def answer(self, name: str, text: str, at: float, seconds: float) -> None:
        """Show what the bot answered."""
        to, took = f"bot to {escape(name)}:", f"[dim]({seconds:.1f} s)[/dim]"
        self._print(f"  [dim]{_time(at)}[/dim]     [bold green]{to}[/bold green] {escape(text)} {took}")

    def announce_sync(self, story: Story, chunks: Sequence[Chunk], *, repeated: int, asked: bool) -> None:
        """Say what Meta is about to send."""
        why = (
            "The bot asked for the history."
            if asked
            else "The number was connected; the owner shares the history."
        )
        self.heading(why)
        self.say(
            f"Meta sends {story.messages:,} old messages of {len(story.chats)} customers, 180 days back, in "
            f"{len(chunks)} pieces from three phases: out of order, {repeated} of them twice."
        )

    def show_sync(self, status: dict[str, Any] | None, *, last: bool = False) -> None:
        """Show how far the bot is, when that has changed."""
        if not status:
            return
        history = status["history"]
        done = min(history["progress"] or 0, 100)
        bar = "#" * (BAR * done // 100) + "-" * (BAR - BAR * done // 100)
        line = (
            f"sync [{bar}] {done:3} %  {history['messages_received']:,} messages received, "
            f"{history['messages_imported']:,} in the bot's memory, {history['conversations']} customers"
        )
        text, at = self._last_sync
        if line != text and (last or time.monotonic() - at >= SYNC_LINE_SECONDS):
            self._last_sync = line, time.monotonic()
            self._print(f"  [dim]{_time()}[/dim] [yellow]{escape(line)}[/yellow]")
        if last:
            self._print(f"  [dim]{_time()}[/dim] [yellow]sync is {status['sync_status']}[/yellow]")

    def summary(self, outcome: Outcome) -> None:
        """Say in the end how it went."""
        self.heading("How it went")
        self._tick(
            outcome.answered == outcome.asked, f"{outcome.answered} of {outcome.asked} questions answered"
        )
        if outcome.in_trackers is None:
            self.say(
                "  Rasa does not show its conversations (start it with --enable-api to count what it knows)."
            )
        else:
            told = f"{outcome.in_trackers:,} of {outcome.old_messages:,} old messages are in the bot's memory"
            self._tick(outcome.in_trackers == outcome.old_messages, f"{told}, each of them once")
        if not outcome.knew:
            return
        table = Table("wrote in the middle of the sync", "the bot knew", "had arrived", "in the end")
        for name, knew, arrived, in_all in outcome.knew:
            table.add_row(name, f"{knew} earlier messages", str(arrived), str(in_all))
        self._console.print(table)

    def _tick(self, is_good: bool, text: str) -> None:
        mark = "[green]yes[/green]" if is_good else "[bold red]NO [/bold red]"
        self._print(f"  {mark}  {escape(text)}")

    def _print(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def _time(at: float | None = None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))
