"""The administrators' pages: what the management API can do, for people in front of a browser."""
