"""Evaluation of model bundles: predictions for labelled photos by the worker's code, metrics, latency and a report."""
