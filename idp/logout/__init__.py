"""Telling apps that a session has ended."""
