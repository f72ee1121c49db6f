"""The REST API below ``/api/v1``: one module per subject, schemas and the OpenAPI document."""
