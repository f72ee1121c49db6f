"""Settings, messages, results, errors and utilities that all tiers share.

Standard library only, so that every tier and every tool may import it.
"""
