"""Tests that import TensorFlow: real networks and short real trainings."""
