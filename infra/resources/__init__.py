"""Managed resources: dynamic providers, one a file. Module paths here are stored in every user's state."""
