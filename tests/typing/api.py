"""Public signatures, checked by mypy and never run."""
