"""Handlers that TorchServe runs."""
