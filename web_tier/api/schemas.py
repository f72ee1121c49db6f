"""Schemas of the API's requests and responses (pydantic); the OpenAPI document is generated from them."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.bulk_columns import DEFAULT_COLUMNS as BULK_COLUMNS
from core.bulk_run import DEFAULT_IMAGES_PER_JOB, MAX_IMAGES_PER_JOB
from core.csv_export import COLUMNS, DEFAULT_COLUMNS, LABEL_LOCAL, TOP_K
from core.jobs import MAX_NAME_BYTES

BatchId = Annotated[str, Field(description="a batch's id")]
# Without control characters, which could mislead in pages, terminals and logs.
ShortText = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
# Nothing in UTF-8 has fewer bytes than characters; `core.jobs.clean_name` applies the limit in bytes.
FileName = Annotated[str, Field(max_length=MAX_NAME_BYTES, description="the file's name, folders included")]
_COLUMN = "|".join([*COLUMNS, LABEL_LOCAL, TOP_K])


class Strict(BaseModel):
    """A part of a request in which unknown fields are errors, so that a misspelt name is noticed."""

    model_config = ConfigDict(extra="forbid")


class Query(BaseModel):
    """A request's query.  Its schema is cached: the library that validates it calls for it at every request."""

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The JSON schema; with the default options, the same object each time."""
        return super().model_json_schema(*args, **options) if args or options else _plain_schema(cls)


@cache
def _plain_schema(model: type[Query]) -> dict[str, Any]:
    return super(Query, model).model_json_schema()


# --- requests ------------------------------------------------------------------------------------


class BatchPath(BaseModel):
    batch_id: BatchId


class ResultPath(BatchPath):
    file: str = Field(description="the part of the image's key after the slash")


class ListQuery(Query):
    limit: int = Field(20, ge=1, le=100, description="most batches in one response")
    cursor: str = Field("", max_length=60, description="`next_cursor` of the last response")


class ImagesQuery(Query):
    offset: int | None = Field(
        None, ge=0, le=99_999, description="position of the first file; without it, after what the batch has"
    )


class AddQuery(ImagesQuery):
    keep_others: bool = Field(
        False,
        description="with `offset`: store nothing over another file, one of another name or size, but take a later "
        "position",
    )


_LABEL_LOCAL = "the label's name in the language of the answer; null if it has none, missing in English"


class LanguageQuery(Query):
    lang: Literal["", "en", "de", "es", "fr", "hi", "zh"] = Field(
        "", description="language of sentences and of `label_local`; else by the cookie, or `Accept-Language`"
    )


class ResultsQuery(LanguageQuery):
    cursor: str = Field("", max_length=4000, description="`cursor` of the last response")


class ExportQuery(LanguageQuery):
    search: str = Field("", max_length=1000, description="only images with all of these words in their name or label")


class CsvQuery(ExportQuery):
    columns: str = Field(
        ",".join(DEFAULT_COLUMNS),
        pattern=f"^({_COLUMN})(,({_COLUMN}))*$",
        description="the columns, in this order; `top_k` has two for each label: `label_1,score_1,…`; with `lang`, the "
        "default has `label_local` too",
    )
    bom: bool = Field(False, description="begin with a byte order mark, by which spreadsheets recognize UTF-8")


class ClassifyQuery(LanguageQuery):
    wait_seconds: float | None = Field(None, ge=0, description="longest wait; at most `classify_wait_seconds`")
    name: FileName = Field("image", description="the file's name, where the body is the image itself")


class Webhook(Strict):
    url: str = Field(max_length=2000, description="https address to which the batch's completion is reported")
    secret: str | None = Field(None, max_length=200, description="`whsec_…`; generated where it is not given")


class NewBatch(Strict):
    name: ShortText = Field("", description="a name for people")
    webhook: Webhook | None = None
    announced: int = Field(
        0,
        ge=0,
        le=100_000,
        description="how many images it will have; it is `complete` only when so many have come, or after `close`",
    )


class Base64Image(Strict):
    name: FileName = "image"
    data: str = Field(description="the file in base64", json_schema_extra={"contentEncoding": "base64"})


class Base64Images(Strict):
    images: list[Base64Image] = Field(min_length=1, max_length=1000, fail_fast=True)


class PlannedUpload(Strict):
    name: FileName
    size_bytes: int = Field(ge=1, description="its exact size")


class PlannedUploads(Strict):
    files: list[PlannedUpload] = Field(min_length=1, max_length=1000, fail_fast=True)


class ChosenFile(Strict):
    name: FileName
    size_bytes: int = Field(ge=0, description="its exact size")


class UploadPlanRequest(Strict):
    files: list[ChosenFile] = Field(min_length=1, max_length=100_000, fail_fast=True)
    additional: bool = Field(
        False, description="none of the files is one of the images announced before, as during another upload"
    )


class CompletedUploads(Strict):
    keys: list[str] = Field(min_length=1, max_length=1000, fail_fast=True, description="keys of completed uploads")


# --- responses -------------------------------------------------------------------------------------


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


class Created(BaseModel):
    batch_id: str
    url: str
    images_url: str
    results_url: str
    events_url: str
    webhook_secret: str | None = None


class Counts(BaseModel):
    accepted: int
    answered: int
    complete: bool
    announced: int = Field(description="how many images it will have in all; 0 if that was not announced")
    missing: int = Field(
        description="how many of the announced images are still expected; 0 once the batch is closed or cancelled, or "
        "nothing has arrived for an hour"
    )


class BatchAnswer(Counts):
    batch_id: str
    name: str
    created_at: str
    state: Literal["queued", "warming", "classifying", "incomplete", "done", "cancelled"]


class ListedBatch(BaseModel):
    batch_id: str
    name: str
    created_at: str
    url: str


class BatchList(BaseModel):
    batches: list[ListedBatch]
    next_cursor: str | None


class AcceptedFile(BaseModel):
    name: str
    key: str


class RejectedFile(AcceptedFile):
    code: str
    error: str


class NotStoredFile(BaseModel):
    name: str
    position: int
    code: str
    error: str


class UploadedArchive(BaseModel):
    name: str
    files: int = Field(description="files of the request that its images are, and positions that they take")
    hidden: int = Field(description="hidden files that were left out")
    others: int = Field(description="files that were left out because their names have no image's ending")
    known: int = Field(description="images that were left out because the batch has them already")


class UploadAnswer(BaseModel):
    accepted: list[AcceptedFile]
    rejected: list[RejectedFile]
    not_stored: list[NotStoredFile]
    archives: list[UploadedArchive]


class UploadPlanAnswer(BaseModel):
    positions: list[int | None] = Field(
        description="for each file the `offset` to send it with; null if it is in the batch already, or does not fit"
    )
    known: int = Field(description="how many of the files are in the batch already")
    full: int = Field(description="how many files the batch has no room for")
    announced: int


class PresignedUpload(BaseModel):
    name: str
    key: str
    url: str
    fields: dict[str, str]


class PresignedUploads(BaseModel):
    uploads: list[PresignedUpload]
    expires_seconds: int


class Label(BaseModel):
    label: str
    label_local: str | None = Field(None, description=_LABEL_LOCAL)
    score: float
    group: str | None = Field(description="what the label is in plain words, such as `cat`; null if it is in no group")


class Group(BaseModel):
    """The group that answers for an unsure model: the narrowest that most of the probability is in."""

    name: str
    score: float = Field(description="the sum of the scores of the best labels that belong to the group")


class ResultError(BaseModel):
    code: str
    sentence: str


class Result(BaseModel):
    key: str
    position: int
    name: str
    status: Literal["classified", "failed"]
    label: str | None
    label_local: str | None = Field(None, description=_LABEL_LOCAL)
    score: float | None
    unsure: bool
    group: Group | None = Field(description="null if the model is sure, or its best labels have too little in common")
    top_k: list[Label]
    error: ResultError | None
    note: str | None = Field(description="a remark on a file of which a part is missing")
    model: str
    seconds_waiting: float | None = Field(description="in the queue and in the worker's hand; null: not measured")
    seconds_booting: float | None = Field(description="in the queue while no instance was running yet")
    seconds_classifying: float | None = Field(description="the worker's time for this image")
    seconds_total: float | None = Field(description="from the job's sending to the result: the sum of the three")
    image_url: str | None


class ResponseTimes(BaseModel):
    """How long a batch took; the last four are medians over its images."""

    sentence: str = Field(description="all of it in one line; empty where nothing was measured")
    images: int = Field(description="how many images were measured; of a large batch some")
    seconds_to_first: float | None = Field(description="from the sending of the first job to the first result")
    seconds_to_last: float | None = Field(description="from there to the last result so far")
    seconds_waiting: float | None
    seconds_booting: float | None
    seconds_classifying: float | None
    seconds_total: float | None


class ResultPage(Counts):
    results: list[Result]
    cursor: str
    more: bool


class Waiting(BaseModel):
    key: str
    name: str
    status: Literal["queued"]
    result_url: str


class Cancelled(Counts):
    batch_id: str
    cancelled: int


class BulkRunPath(BaseModel):
    run_id: str = Field(description="the run's id", max_length=100)


class BulkRunAnswer(BaseModel):
    """A bulk run: the labelling of photos that are in S3 already."""

    run_id: str
    status: Literal["requested", "running", "complete", "cancelled", "failed", "refused"] = Field(
        description="`requested`: the controller has not taken it up yet"
    )
    problem: str = Field(description="one sentence where the run has failed, is refused or does not go on; else empty")
    source: str
    output: str
    format: Literal["csv", "jsonl", "parquet"]
    columns: list[str]
    created_at: float = Field(description="seconds since the epoch")
    finished_at: float | None
    finish_by: float | None = Field(description="the deadline")
    max_instances: int | None = Field(description="no more are kept for it")
    usd: float = Field(description="what it has cost on AWS, by the price table")
    images: int = Field(description="how many are planned; all of them if `is_planned`")
    is_planned: bool
    answered: int
    failed: int = Field(description="how many have no label; counted when the run is complete")
    skipped: int = Field(description="objects that were not included")


class BulkRunList(BaseModel):
    runs: list[BulkRunAnswer]


BulkAddress = Annotated[str, Field(max_length=1100, description="such as `s3://bucket/prefix/`")]
MAX_BULK_INSTANCES = 1000
MAX_FINISH_WITHIN_SECONDS = 90 * 24 * 3600.0


class NewBulkRun(Strict):
    source: BulkAddress
    output: BulkAddress
    include: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        [], max_length=20, description="patterns of keys, such as `*.png`; none: those with an image's ending"
    )
    format: Literal["csv", "jsonl", "parquet"] = "csv"
    columns: list[str] = Field(list(BULK_COLUMNS), min_length=1, max_length=20)
    images_per_job: int = Field(DEFAULT_IMAGES_PER_JOB, ge=1, le=MAX_IMAGES_PER_JOB)
    requester_pays: bool = False
    max_instances: int | None = Field(None, ge=1, le=MAX_BULK_INSTANCES, description="no more are kept for it")
    finish_within_seconds: float | None = Field(None, gt=0, le=MAX_FINISH_WITHIN_SECONDS, description="the deadline")


class BulkRequested(BaseModel):
    run_id: str
    requested: Literal["start", "cancel", "resume"]
    url: str = Field(description="shows what has become of it, within seconds")


class Limits(BaseModel):
    max_image_bytes: int
    max_archive_bytes: int
    max_image_pixels: int
    max_batch_images: int
    formats: list[str]
    unsure_below: float


class ModelAnswer(BaseModel):
    model: str
    workers: int
    default: bool
    top1: float | None = None
    labels: list[str] | None = None


class Models(BaseModel):
    models: list[ModelAnswer]


class Remark(BaseModel):
    sentence: str
    alarming: bool = Field(description="an operator should look into it")


class Cost(BaseModel):
    usd_per_hour: float | None = Field(description="US dollars, at this moment's size and rate; null where not known")
    usd_per_1000_images: float | None = Field(description="US dollars, the mean since `since`; null where not known")


class Costs(BaseModel):
    """What the fleet costs on AWS, estimated by a price table."""

    region: str
    date: str = Field(description="when the prices were looked up, ISO 8601")
    compute: Cost = Field(description="the instances' time")
    requests: Cost = Field(description="what each image costs besides: requests, storage, transfer")
    standing: Cost = Field(description="what the stack costs also without any image")
    total: Cost


class Fleet(BaseModel):
    """The fleet as its controller reported it last; see core/fleet_status.py for every field."""

    model_config = ConfigDict(extra="allow")

    at: float
    controller_id: str
    min_size: int
    max_size: int
    instances: list[dict[str, Any]]
    history: list[dict[str, Any]]
    decisions: list[dict[str, Any]]
    remarks: list[Remark]
    costs: Costs
