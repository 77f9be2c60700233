"""Say why a number's contacts or history do not come, and what helps."""

from __future__ import annotations

ALREADY_ASKED, TOO_LATE, DECLINED = 2593107, 2593108, 2593109

_ANEW = "disconnect the number in the app (Settings > Account > Business Platform) and connect it again"

SENTENCES = {
    ALREADY_ASKED: "Meta gives each sync once for an onboarding, and this one was asked for before; if "
    "nothing "
    f"comes, {_ANEW}",
    TOO_LATE: f"Meta gives each sync only within 24 hours of the onboarding, and they are over; to have "
    f"it, {_ANEW}",
    DECLINED: "the owner chose not to share the chat history; the bot goes on without it. To share it "
    "after all, "
    f"{_ANEW}, with sharing switched on",
}


def sentence(code: int | None, said: str | None = None) -> str:
    """Return what a code of Meta's means for a sync, with its remedy; ``said`` are Meta's own words."""
    if code in SENTENCES:
        return f"{SENTENCES[code]} ({code})"
    told = f": {said}" if said else ""
    return f"Meta reports {'an error' if code is None else code}{told}; nothing more comes unless you {_ANEW}"


def refused(why: str, said: str | None) -> str:
    """Return the sentence for a request that Meta refused; ``said`` are Meta's own words."""
    told = f" ({said})" if said else ""
    return (
        f"Meta refused the request, so it is not used up: {why}{told}; when that is mended, ask again within "
        'the 24 hours with POST /api/sync and "again": true'
    )


def unanswered(happened: str) -> str:
    """Return the sentence for a request that may have been used up without an answer."""
    return f"{happened}; Meta gives this sync once, so it is not asked again: what arrives will tell"


def never_came() -> str:
    """Return the sentence for an unanswered request after which nothing arrived for a day."""
    return f"Meta never answered the request, and nothing came in 24 hours; to have it, {_ANEW}"
