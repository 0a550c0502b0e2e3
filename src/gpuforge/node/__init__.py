"""The programs that run on every node, and their client."""
