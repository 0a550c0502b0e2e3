"""What stands in for system commands on a simulated machine; copied to each image, first on PATH."""
