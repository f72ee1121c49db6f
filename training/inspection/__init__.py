"""Inspect a data set before training: its classes, sizes, duplicates and broken files, as tables and pictures."""
