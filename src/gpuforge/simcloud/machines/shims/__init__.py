"""What stands in for system commands on a simulated machine; copied to each image, run by the machine's python."""
