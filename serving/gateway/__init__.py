"""The inference gateway: TLS, tokens and the OpenAI embeddings API in front of a model server on loopback."""
