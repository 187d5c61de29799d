"""Data contract, training, export and evaluation of the models."""
