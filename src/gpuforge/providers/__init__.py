"""The provider port and its adapters; nothing outside asks which cloud it is talking to."""
