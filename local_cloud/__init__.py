"""The embedded cloud: moto's server, and a supervisor that runs a worker process for each emulated EC2 instance.

The tiers do not depend on it: for them it is an endpoint URL.
"""
