"""Verified connections to nodes, over OpenSSH or paramiko."""
