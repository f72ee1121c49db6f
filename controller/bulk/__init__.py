"""Bulk runs: planning, enqueueing, counting and merging, as a task of the controller."""
