"""Guardrails as a Pulumi policy pack, made of the functions that the components validate with."""
