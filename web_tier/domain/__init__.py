"""What the web tier does with batches, images and results; independent of the routes that call it."""
