"""Verifies the journal's chain and exports it."""
