"""Housekeeping beside the control loop: lost jobs, deletions, webhooks."""
