"""The simulated cloud; it knows no provider."""
