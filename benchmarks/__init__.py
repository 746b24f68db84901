"""Scripts that measure; each prints a table and the command that made it."""
