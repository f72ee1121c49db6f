"""The OpenAPI document, which is generated from the views, and the page to try the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import flask_openapi3_swagger
from flask import Blueprint, Response, current_app, render_template, request
from flask.typing import ResponseReturnValue
from flask_openapi3.blueprint import APIBlueprint
from flask_openapi3.models.info import Info
from flask_openapi3.models.schema import Schema
from flask_openapi3.models.tag import Tag
from flask_openapi3.openapi import OpenAPI
from pydantic import BaseModel

from web_tier.api.schemas import Problem
from web_tier.errors import validation_failure

# Return types of the API's views.  (The annotations are evaluated, which those of Flask's own alias cannot be.)
Answer = dict[str, Any] | Response | tuple[dict[str, Any] | str, int] | tuple[dict[str, Any], int, dict[str, str]]

API_PREFIX = "/api/v1"
DOCS_PATH = f"{API_PREFIX}/docs"
_SCHEMAS = "#/components/schemas/"
_PROBLEM = {
    "description": "A problem document (RFC 9457)",
    "content": {"application/problem+json": {"schema": {"$ref": f"{_SCHEMAS}Problem"}}},
}
# Responses that every operation may give.
PROBLEMS: Any = {"422": _PROBLEM, "default": _PROBLEM}
# A token, or nothing: a browser's cookie, or a server on loopback without authentication.
_SECURITY: list[dict[str, list[str]]] = [{"token": []}, {}]
_SWAGGER = Path(flask_openapi3_swagger.__file__).parent / "templates" / "swagger"
# For this page only: Swagger UI writes style attributes, and its icons are data URLs.  Scripts are confined as ever.
_DOCS_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blueprint = Blueprint("docs", __name__, url_prefix=API_PREFIX, static_folder=str(_SWAGGER), static_url_path="/swagger")


def open_api(import_name: str, version: str, **options: Any) -> OpenAPI:
    """The application object; `options` are Flask's."""
    description = "Upload photos, get labels: batches of thousands, or one image and one answer."
    return OpenAPI(
        import_name,
        info=Info(title="Elastic Image Classifier", version=version, description=description),
        doc_ui=False,
        security_schemes={"token": {"type": "http", "scheme": "bearer", "description": "an access token, `eic_…`"}},
        validation_error_status=422,
        validation_error_model=Problem,
        validation_error_callback=validation_failure,
        **options,
    )


def api_blueprint(name: str, import_name: str) -> APIBlueprint:
    """A blueprint of the API, ``api_<tag>``: its views' signatures and docstrings become operations of the document."""
    tag = Tag(name=name.removeprefix("api_"))
    return APIBlueprint(
        name,
        import_name,
        url_prefix=API_PREFIX,
        abp_responses=PROBLEMS,
        abp_tags=[tag],
        abp_security=_SECURITY,
        operation_id_callback=_operation_id,
    )


def _operation_id(*, name: str, path: str, method: str) -> str:
    """The name of an operation, by which generated clients name their functions: that of the view, with a verb."""
    return f"get_{name}" if method == "GET" and not name.startswith("list_") else name


def json_body(blueprint: APIBlueprint, model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Documents a JSON body that the view reads with `web_tier.api.request_body.read_json`."""
    return request_body({"application/json": json_content(blueprint, model)}, required=required)


def json_content(blueprint: APIBlueprint, model: type[BaseModel]) -> dict[str, Any]:
    """One content of a body: JSON that matches `model`, whose schema is added to the document."""
    schema = model.model_json_schema(ref_template=f"{_SCHEMAS}{{model}}")
    for name, definition in schema.pop("$defs", {}).items():
        blueprint.components_schemas[name] = Schema(**definition)
    blueprint.components_schemas[model.__name__] = Schema(**schema)
    return {"schema": {"$ref": f"{_SCHEMAS}{model.__name__}"}}


def request_body(content: dict[str, Any], *, required: bool = True) -> dict[str, Any]:
    """Documents a body explicitly, for views that read it themselves."""
    return {"requestBody": {"required": required, "content": content}}


def form_with(field: str, *, many: bool = False) -> dict[str, Any]:
    """One content of a body: a multipart form with a file, or with `many`, in the field `field`."""
    file: dict[str, Any] = {"type": "string", "format": "binary"}
    schema = {"type": "array", "items": file} if many else file
    return {"schema": {"type": "object", "properties": {field: schema}, "required": [field]}}


def answer_of(media_type: str, description: str) -> dict[str, Any]:
    """Documents a response that is text, and not JSON."""
    return {"description": description, "content": {media_type: {"schema": {"type": "string"}}}}


@blueprint.get("/openapi.json")
def document() -> ResponseReturnValue:
    """The OpenAPI document."""
    described: dict[str, Any] = current_app.api_doc  # type: ignore[attr-defined]
    # Without it, the paths are those below the host's root, where a proxy with a prefix has something else.
    return {**described, "servers": [{"url": request.script_root or "/"}]}


@blueprint.get("/docs")
def page() -> ResponseReturnValue:
    """A page to try the API."""
    return Response(render_template("docs.html"), headers={"Content-Security-Policy": _DOCS_POLICY})
