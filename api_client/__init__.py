"""The HTTP client of the web tier's API, and the files that a person may upload with it."""
