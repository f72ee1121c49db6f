"""Limits, models and fleet of the service over the API."""

from __future__ import annotations

import dataclasses
import logging
from functools import cache
from pathlib import Path
from typing import Any

from flask import abort

from core.bundle_manifest import read_manifest
from core.errors import BundleError
from core.fleet_costs import fleet_costs
from core.formats import ACCEPTED_FORMATS
from core.prices import load_prices
from web_tier.api.openapi import Answer, api_blueprint
from web_tier.api.schemas import Fleet, Limits, Models
from web_tier.services import services

log = logging.getLogger(__name__)

blueprint = api_blueprint("api_system", __name__)


@blueprint.get("/limits", responses={200: Limits})
def limits() -> Answer:
    """Limits on uploads, and the accepted formats."""
    settings = services().settings
    return {
        "max_image_bytes": settings.max_image_bytes,
        "max_archive_bytes": settings.max_archive_bytes,
        "max_image_pixels": settings.max_image_pixels,
        "max_batch_images": settings.max_batch_images,
        "formats": list(ACCEPTED_FORMATS),
        "unsure_below": settings.unsure_below,
    }


@blueprint.get("/models", responses={200: Models})
def models() -> Answer:
    """The models in use: the one that workers are set to load, and those that running workers report."""
    found = services()
    workers = found.fleet.workers_by_model()
    shipped = _shipped(found.settings.model_bundle)
    names = {**dict.fromkeys([shipped["model"]] if shipped else []), **dict.fromkeys(sorted(workers))}
    listed: list[dict[str, Any]] = []
    for name in names:
        own = shipped if shipped and shipped["model"] == name else {"model": name}
        listed.append({**own, "workers": workers.get(name, 0), "default": own is shipped})
    return {"models": listed}


@blueprint.get("/fleet", responses={200: Fleet})
def fleet() -> Answer:
    """The fleet as its controller reported it last: instances, history and decisions; `404` before it has."""
    status = services().fleet.status()
    if status is None:
        abort(404, "no controller has reported yet")
    return {
        **dataclasses.asdict(status),
        "remarks": [dataclasses.asdict(remark) for remark in status.remarks],
        "costs": dataclasses.asdict(fleet_costs(status, load_prices())),
    }


@cache
def _shipped(folder: str) -> dict[str, Any] | None:
    """Name, accuracy and labels of a model bundle; None where it is not on this machine."""
    try:
        bundle = read_manifest(Path(folder))
        labels = (Path(folder) / bundle["labels"]).read_text("utf-8").splitlines()
        top1 = bundle.get("measured", {}).get("top1_int8")
        return {"model": f"{bundle['name']}@{bundle['version']}", "top1": top1, "labels": labels}
    except (OSError, BundleError, ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("the model bundle %s cannot be read: %s", folder, error)
        return None
