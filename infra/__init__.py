"""The stack: program, components, managed resources, policies and the local cloud."""
