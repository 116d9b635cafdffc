"""Engines against the reference: do they say the same, proven where; and how fast, and which is chosen."""
