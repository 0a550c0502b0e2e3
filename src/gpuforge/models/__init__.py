"""Frozen values everyone shares; no I/O, no provider, no user input."""
