"""Scaling: observe the queue and the fleet, decide the size, launch and terminate."""
