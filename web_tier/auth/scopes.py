"""Which scope a view asks for.  A view that is not in the table is closed to everybody."""

from __future__ import annotations

PUBLIC = "public"
UPLOAD = "upload"
READ = "read"
ADMIN = "admin"

_SCOPES = {
    # What every browser needs before anybody has signed in, and what load balancers ask.
    "static": PUBLIC,
    "docs.static": PUBLIC,
    "sign_in.form": PUBLIC,
    "sign_in.sign_in": PUBLIC,
    "sign_in.sign_out": PUBLIC,
    "operations.health": PUBLIC,
    "operations.ready": PUBLIC,
    # Sums over all owners.
    "operations.metrics": ADMIN,
    # The fleet works for everybody: whoever waits for an answer may see why, and it tells nothing of anybody's images.
    "api_system.fleet": READ,
    "fleet_pages.fleet": READ,
    "api_system.limits": READ,
    "api_system.models": READ,
    "docs.document": READ,
    "docs.page": READ,
    # An owner's own batches.
    "pages.upload": READ,
    "pages.batch": READ,
    "pages.image": READ,
    "api_batches.list_batches": READ,
    "api_batches.batch": READ,
    "api_results.results": READ,
    "api_results.result": READ,
    "api_results.results_csv": READ,
    "api_results.results_json": READ,
    "api_events.events": READ,
    "pages.create_batch": UPLOAD,
    "compat.classify": UPLOAD,
    "api_batches.create_batch": UPLOAD,
    "api_batches.cancel_batch": UPLOAD,
    "api_batches.delete_batch": UPLOAD,
    "api_images.add_images": UPLOAD,
    "api_images.permit_uploads": UPLOAD,
    "api_images.complete_uploads": UPLOAD,
    "api_classify.classify": UPLOAD,
}


def required(endpoint: str) -> str | None:
    """The scope that a view asks for; `PUBLIC` where it is open, None where nobody may use it."""
    return _SCOPES.get(endpoint)
