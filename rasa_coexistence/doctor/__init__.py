"""Look a shop's set-up over, from ``credentials.yml`` to the webhook's public address, and change nothing.

``examine`` goes through the parts in this order: ``settings_part``, ``rasa_part``, ``ledger_part``,
``meta_part`` with ``number_part`` for each number, ``webhook_part``. Each says what it found in lines; a part
that cannot be looked at does not keep the others from it.
"""
