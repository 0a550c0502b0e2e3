"""The provider of the simulated cloud: a thin adapter over simcloud."""
