"""A batch's results over the API: in pages, one by one, or all as a file."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from functools import partial

from flask import Response, stream_with_context, url_for

from core.csv_export import LABEL_LOCAL, csv_chunks
from core.errors import NotFoundError
from core.jobs import ClassificationResult
from core.languages import ENGLISH
from web_tier.api.openapi import Answer, answer_of, api_blueprint
from web_tier.api.schemas import (
    BatchPath,
    CsvQuery,
    ExportQuery,
    LanguageQuery,
    ResponseTimes,
    Result,
    ResultPage,
    ResultPath,
    ResultsQuery,
    Waiting,
)
from web_tier.auth import authorization
from web_tier.domain.batch_state import counts
from web_tier.domain.batches import Batch
from web_tier.domain.response_times import batch_response_time, sentence
from web_tier.domain.result_fields import local_names, result_fields
from web_tier.domain.result_pagination import Cursor, next_page
from web_tier.domain.result_search import ResultSearch
from web_tier.services import services

# More in one response would be slow to fetch where the cache is cold.
RESULTS_PER_PAGE = 250
RETRY_AFTER_SECONDS = 1

blueprint = api_blueprint("api_results", __name__)
# The schema of one result is in the document because of the responses below that are of this model.
_RESULTS = {"type": "array", "items": {"$ref": "#/components/schemas/Result"}}


@blueprint.get("/batches/<batch_id>/results", responses={200: ResultPage})
def results(path: BatchPath, query: ResultsQuery) -> Answer:
    """The results that are new since a cursor.

    Begin without one.  None is repeated, unless it has been stored again: then it comes with the same `key`.
    """
    cursor = Cursor.decode(query.cursor)
    found = services()
    current = authorization.batch(path.batch_id)
    page = next_page(current.results, cursor, RESULTS_PER_PAGE)
    unsure_below = found.settings.unsure_below
    return {
        "results": [result_fields(result, unsure_below) for result in found.batches.fetch(page.entries)],
        "cursor": page.cursor.encode(),
        "more": page.more,
        **counts(current),
    }


@blueprint.get("/batches/<batch_id>/results/<file>", responses={200: Result, 202: Waiting})
def result(path: ResultPath, query: LanguageQuery) -> Answer:
    """The result of one image; `202` while it has none."""
    key = f"{path.batch_id}/{path.file}"
    authorization.check_key(key)
    found = services()
    try:
        return result_fields(found.results.get(key), found.settings.unsure_below)
    except NotFoundError:
        return waiting_fields(key, found.images.name(key)), 202, {"Retry-After": str(RETRY_AFTER_SECONDS)}


@blueprint.get(
    "/batches/<batch_id>/results.csv", responses={200: answer_of("text/csv", "`image,label` lines, by position")}
)
def results_csv(path: BatchPath, query: CsvQuery) -> Answer:
    """The results so far as a CSV file, by position.

    A text that a spreadsheet would take for a formula gets an apostrophe in front.  The column `label` is English in
    all languages.
    """
    current = authorization.batch(path.batch_id)
    columns, top_k = query.columns.split(","), services().settings.top_k
    if query.lang and "columns" not in query.model_fields_set:
        columns.append(LABEL_LOCAL)
    found, local_name = _matching(current, query), partial(_local_name, query.lang)
    chunks = csv_chunks(found, columns, top_k, byte_order_mark=query.bom, local_name=local_name)
    return _file(current, "text/csv", "csv", chunks)


@blueprint.get(
    "/batches/<batch_id>/results.json",
    responses={
        200: {"description": "all fields of each result", "content": {"application/json": {"schema": _RESULTS}}}
    },
)
def results_json(path: BatchPath, query: ExportQuery) -> Answer:
    """The results so far as a JSON file, by position, with all fields."""
    current = authorization.batch(path.batch_id)
    return _file(current, "application/json", "json", _json_chunks(_json_rows(current, query)))


@blueprint.get(
    "/batches/<batch_id>/results.jsonl",
    responses={200: answer_of("application/jsonl", "one JSON object on each line")},
)
def results_jsonl(path: BatchPath, query: ExportQuery) -> Answer:
    """The results so far as JSON Lines, by position: each line has the fields of one result."""
    current = authorization.batch(path.batch_id)
    return _file(current, "application/jsonl", "jsonl", (f"{row}\n" for row in _json_rows(current, query)))


@blueprint.get("/batches/<batch_id>/response-times", responses={200: ResponseTimes})
def response_times(path: BatchPath) -> Answer:
    """How long the first and the last answer took, and what an image's time was spent on."""
    current = authorization.batch(path.batch_id)
    found = batch_response_time(current.results, services().batches.fetch)
    if found is None:
        return {**dict.fromkeys(ResponseTimes.model_fields), "sentence": "", "images": 0}
    rounded = {name: round(value, 3) for name, value in dataclasses.asdict(found).items()}
    return {"sentence": sentence(found, current.answered), **rounded}


def waiting_fields(key: str, name: str) -> dict[str, str]:
    """The JSON fields of an image without a result."""
    return {"key": key, "name": name, "status": "queued", "result_url": result_url(key)}


def result_url(key: str) -> str:
    """The URL of one image's result."""
    batch_id, _, file = key.partition("/")
    return url_for("api_results.result", batch_id=batch_id, file=file)


def _matching(current: Batch, query: ExportQuery) -> Iterator[ClassificationResult]:
    search = ResultSearch(query.search, partial(_local_name, query.lang))
    return filter(search.matches, services().batches.fetch(current.results))


def _local_name(lang: str, result: ClassificationResult) -> str | None:
    names = local_names(result.predictions, lang or ENGLISH)
    return None if names is None or result.label is None else names.get(result.label)


def _json_rows(current: Batch, query: ExportQuery) -> Iterator[str]:
    unsure_below = services().settings.unsure_below
    for answer in _matching(current, query):
        yield json.dumps(result_fields(answer, unsure_below), ensure_ascii=False)


def _json_chunks(rows: Iterator[str]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before + row
        before = ",\n"
    yield "\n]\n" if before != "[\n" else "[]\n"


def _file(current: Batch, media_type: str, ending: str, chunks: Iterator[str]) -> Response:
    response = Response(stream_with_context(chunks), mimetype=media_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{current.batch_id}.{ending}"'
    return response
