"""HTTP client of the web tier's API, and the collection of image files to upload."""
