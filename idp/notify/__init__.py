"""Telling people: messages, and the ways they go out."""
