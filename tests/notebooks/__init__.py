"""Tests that run the notebooks of the documentation."""
