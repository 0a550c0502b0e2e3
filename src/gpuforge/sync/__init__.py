"""What must be where, proven."""
