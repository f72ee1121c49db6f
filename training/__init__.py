"""Training of classifiers: data sets, architectures, training runs, and the export of model bundles.

Beside the benchmarks the only package that imports TensorFlow, in modules that commands import after checking their
options.
"""
