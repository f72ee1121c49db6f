"""The published status, the history of the fleet, and the monitoring of predictions."""
