"""The embedded cloud: moto's server, and a supervisor that turns each emulated EC2 instance into a worker.

The tiers know nothing of it: they see an endpoint URL.
"""
