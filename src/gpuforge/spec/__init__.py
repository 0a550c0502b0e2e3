"""What the user writes: task files and settings, checked and marked with file and line."""
