"""What the tiers agree on: settings, the messages and results they exchange, the errors they raise.

Standard library only, so that every tier and every tool may import it.
"""
