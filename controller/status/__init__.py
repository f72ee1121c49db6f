"""Status: what is published about the fleet, its history, and the monitoring of predictions."""
