"""Simulation of the fleet: arrival traces replayed through the real scaling policy and through other scalers."""
