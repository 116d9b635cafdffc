"""Replay: the recorded frames inspected again, and what agrees or differs."""
