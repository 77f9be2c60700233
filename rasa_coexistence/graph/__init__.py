"""Meta's Graph API: ``client`` calls it, ``errors`` and ``codes`` say what a failure means."""
