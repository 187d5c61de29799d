"""Clients of the services that the recommendation service and the infrastructure talk to."""
