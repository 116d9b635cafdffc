"""Frames become inspection results."""
