"""Benchmarks of the worker, the web tier, the page and the local stack; the documentation's figures come from them."""
