"""Trains image classifiers: data sets, architectures, and the run folder that evaluation and export read.

The only room that imports TensorFlow, and only in modules that `elastic train` loads after its options were checked.
"""
