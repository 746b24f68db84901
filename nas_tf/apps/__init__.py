"""Commands that serve both families, one a file."""
