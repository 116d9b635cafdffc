"""The command line: `taktwatch demo | run | inspect | train | evaluate | models | product | calibrate | replay ...`.

A module for each kind of command; importing it puts its commands into the app. A command imports the rooms it needs.
"""

from taktwatch.cli import line, models, msa, pictures, training
from taktwatch.cli.shell import app, main

__all__ = ["app", "line", "main", "models", "msa", "pictures", "training"]
