"""From "I have a phone with WhatsApp Business" to a synced bot, and all that befalls a number later.

``plan`` says which step comes next, ``steps`` makes each, ``flow`` runs them one after the other, recorded
and resumable; ``judging`` reads Meta's refusals and ``troubles`` has a sentence for each; ``watch`` looks
after the numbers from then on.
"""
