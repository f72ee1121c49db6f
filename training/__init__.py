"""From labelled photos to a model bundle: data sets, architectures, training runs, and their export.

The only room that imports TensorFlow, and only in modules that `elastic train` and `elastic export` load after their
options were checked.
"""
