"""Scripts that measure. Each prints its figures."""
