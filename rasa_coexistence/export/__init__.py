"""Hand out what was said: as JSON lines, as Rasa test stories, as candidates for NLU training data.

    masking.py        numbers, e-mail addresses and ids -> placeholders, the same for the same
    training_text.py  a text -> one that is no markup to Rasa's readers
    json_lines.py  stories.py  candidates.py    what was said -> one format, bit by bit

All of it is pure but for ``candidates``, which counts in a temporary file. ``ledger/transcripts.py`` reads.
"""
