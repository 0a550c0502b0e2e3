"""What must be where, proven: copies between this computer and a node over one pipe."""
