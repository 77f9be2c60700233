"""Count what Meta counts: throughput of a number, pair rate, and the 24-hour window."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rasa_coexistence.simulator.refusals import Refusal

WINDOW_SECONDS = 24 * 3600


@dataclass(kw_only=True)
class Rates:
    """What has passed between numbers and customers, and how much may."""

    messages_per_second: int = 20  # of a coexistence number, in and out together
    slack: int = 2  # what the network bunches up is not held against the sender
    pair_seconds: float = 6.0  # one message to one customer this often ...
    pair_burst: int = 45  # ... with so many borrowed from the future
    _passed: dict[str, deque[float]] = field(default_factory=dict)
    _pairs: dict[tuple[str, str], float] = field(
        default_factory=dict
    )  # when the last borrowed one is paid back
    _wrote: dict[tuple[str, str], float] = field(default_factory=dict)

    def count(self, phone_number_id: str, at: float) -> None:
        """Note that a message passed, in or out."""
        self._passed.setdefault(phone_number_id, deque()).append(at)

    def customer_wrote(self, phone_number_id: str, key: str, at: float) -> None:
        """Note an inbound live message: it opens the window."""
        self.count(phone_number_id, at)
        self._wrote[phone_number_id, key] = max(at, self._wrote.get((phone_number_id, key), at))

    def window_is_open(self, phone_number_id: str, key: str, *, now: float, onboarded_at: float) -> bool:
        """Tell whether a free-form message may go to a customer."""
        wrote = self._wrote.get((phone_number_id, key))
        return wrote is not None and wrote >= onboarded_at and now - wrote < WINDOW_SECONDS

    def check_throughput(self, phone_number_id: str, now: float) -> None:
        """Raise 130429 when the number has had its messages of this second."""
        passed = self._passed.setdefault(phone_number_id, deque())
        while passed and not now - 1 < passed[0] <= now:
            passed.popleft()
        if len(passed) >= self.messages_per_second + self.slack:
            raise Refusal(130429, "Cloud API message throughput has been reached.", subcode=2494055)

    def take_pair(self, phone_number_id: str, key: str, now: float) -> None:
        """Raise 131056 when this customer has had too many messages, else count one."""
        pair = phone_number_id, key
        paid_back = max(self._pairs.get(pair, now), now)
        if paid_back - now > (self.pair_burst - 1) * self.pair_seconds:
            raise Refusal(131056, "Too many messages from this number to the same customer.")
        self._pairs[pair] = paid_back + self.pair_seconds
