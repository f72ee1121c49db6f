"""`elastic simulate`: arrival traces replayed through the real scaling policy, and through those of others."""
