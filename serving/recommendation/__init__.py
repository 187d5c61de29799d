"""The recommendation service: recall, rank and explain over one deployed release at a time."""
