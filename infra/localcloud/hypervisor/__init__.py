"""Runs instances and training pods as processes with their own root folder, network and metadata service."""
