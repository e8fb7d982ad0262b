"""The background of one process, and the one way out of it."""
