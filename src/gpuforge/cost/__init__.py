"""Estimates, the ledger and limits on money."""
