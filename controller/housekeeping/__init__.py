"""Housekeeping beside the control loop: lost jobs, deletions, empty batches, webhooks."""
