"""The emulated services, a folder each."""
