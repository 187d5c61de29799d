"""How good retrieval and recommendations are, by splits that training never saw."""
