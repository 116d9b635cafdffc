"""Copper layers of a section, walked along: thickness, depth of corrosion, copper left. Pure."""
