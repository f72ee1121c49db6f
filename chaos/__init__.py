"""Chaos test: photos are classified on a local stack under injected faults, then both buckets are compared."""
