"""A client that openapi-python-client generates from the OpenAPI document, and a program that uses it."""
