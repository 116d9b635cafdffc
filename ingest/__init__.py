"""Cameras, folders, video and the simulated conveyor become accepted frames, durable in a spool and then on the bus."""
