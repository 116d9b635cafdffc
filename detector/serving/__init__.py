"""Frames through the detector without end: they wait, pass overlapped stages, and one result leaves for each."""
