"""What a machine costs: by the hour, and at most until its deadline."""
