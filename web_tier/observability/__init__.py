"""Metrics, request log, health and readiness of a web process."""
