"""Launch, follow and end jobs."""
