"""The scope that each view requires.  A view that is not in the table is closed to every client."""

from __future__ import annotations

PUBLIC = "public"
UPLOAD = "upload"
READ = "read"
ADMIN = "admin"

_SCOPES = {
    # What a browser needs before the sign-in, and the probes of load balancers.
    "static": PUBLIC,
    "docs.static": PUBLIC,
    "sign_in.form": PUBLIC,
    "sign_in.sign_in": PUBLIC,
    "sign_in.sign_out": PUBLIC,
    "operations.health": PUBLIC,
    "operations.ready": PUBLIC,
    # Sums over all owners.
    "operations.metrics": ADMIN,
    # Bulk runs belong to the operator, and show the names of buckets.
    "api_bulk.runs": ADMIN,
    "api_bulk.run": ADMIN,
    "api_bulk.start_run": ADMIN,
    "api_bulk.cancel_run": ADMIN,
    "api_bulk.resume_run": ADMIN,
    "bulk_pages.bulk": ADMIN,
    "bulk_pages.new_run": ADMIN,
    "bulk_pages.start_run": ADMIN,
    "bulk_pages.cancel_run": ADMIN,
    "bulk_pages.resume_run": ADMIN,
    # The fleet serves all owners: a client that waits for results may see why, and it shows nothing of any image.
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
    "api_results.results_jsonl": READ,
    "api_results.response_times": READ,
    "api_events.events": READ,
    "pages.create_batch": UPLOAD,
    "pages.confirm_deletion": UPLOAD,
    "pages.delete_batch": UPLOAD,
    "pages.add_images": UPLOAD,
    "pages.close_batch": UPLOAD,
    "compat.classify": UPLOAD,
    "api_batches.create_batch": UPLOAD,
    "api_batches.cancel_batch": UPLOAD,
    "api_batches.close_batch": UPLOAD,
    "api_batches.delete_batch": UPLOAD,
    "api_images.add_images": UPLOAD,
    "api_images.plan_upload": UPLOAD,
    "api_images.permit_uploads": UPLOAD,
    "api_images.complete_uploads": UPLOAD,
    "api_classify.classify": UPLOAD,
}


def required(endpoint: str) -> str | None:
    """The scope that a view requires; `PUBLIC` where it requires none, None where the view is closed."""
    return _SCOPES.get(endpoint)
