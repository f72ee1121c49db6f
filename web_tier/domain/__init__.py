"""Services for batches, uploads and results, independent of the routes that call them."""
