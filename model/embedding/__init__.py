"""The embedding model: encoder, training pairs and training."""
