"""How all that a stack runs on is obtained: Python packages, the Pulumi engine, the alicloud plugin, OpenSearch.

Runs on the system's Python before any environment exists, so it uses the standard library only.
"""
