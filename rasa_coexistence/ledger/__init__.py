"""The durable state: every function here is one step inside a transaction that ``Database`` opens."""
