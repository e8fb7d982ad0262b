"""Decisions as pure functions from facts: no clock, no database, no network."""
