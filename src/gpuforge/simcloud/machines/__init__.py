"""Simulated machines: real processes behind a real SSH server."""
