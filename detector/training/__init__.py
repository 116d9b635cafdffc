"""How models learn: where samples come from, how they are varied, the loop, and what a run leaves behind."""
