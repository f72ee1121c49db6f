"""The HTML pages, and the one-line answer of ``POST /``."""
