"""How good a model bundle is: its answers to labelled photos, by the worker's own code, as figures and a report."""
