"""HTTP client of the web tier's API, and the collection of image files to upload.

`ApiClient` is what programs use; its results are `Result`s, its errors `ApiError`s.
"""

from api_client.client import ApiClient
from api_client.responses import ApiError, NoResultError, RefusedError, ServerError, UnreachableError
from api_client.results import Failure, Prediction, Result

__all__ = [
    "ApiClient",
    "ApiError",
    "Failure",
    "NoResultError",
    "Prediction",
    "RefusedError",
    "Result",
    "ServerError",
    "UnreachableError",
]
