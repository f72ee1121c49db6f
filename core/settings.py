"""Settings: one frozen object, read once from the environment, validated as a whole.

Every setting is an environment variable ``EIC_<NAME>``.  Its default, unit and meaning stand here and
in ``docs/reference/settings.md``, which `render_markdown` writes and a test keeps in step.  Region,
credentials and endpoint are not among them: boto3's own ``AWS_…`` variables say those, and an
``AWS_ENDPOINT_URL`` is the only difference between the embedded cloud and AWS.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import SettingsError

PREFIX = "EIC_"
_KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
_KIND_NAMES = {"int": "a whole number", "float": "a number", "str": "text"}


def _setting(default: Any, help: str, minimum: float | None = None, maximum: float | None = None) -> Any:
    return dataclasses.field(default=default, metadata={"help": help, "minimum": minimum, "maximum": maximum})


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Everything that can be set; see `from_environment`."""

    # Names in the cloud
    input_bucket: str = _setting("elastic-input", "S3 bucket for uploaded images")
    output_bucket: str = _setting("elastic-output", "S3 bucket for results")
    queue_name: str = _setting("elastic-jobs", "SQS queue of jobs")
    dead_letter_queue_name: str = _setting("elastic-jobs-dead", "SQS queue for jobs that failed too often")
    launch_template_name: str = _setting("elastic-app-tier", "EC2 launch template of the app tier")
    fleet_name: str = _setting("elastic", "value of the tag `elastic:fleet`, which says what instances are ours")

    # Limits on what comes in
    max_image_bytes: int = _setting(10 * 1024 * 1024, "largest image file, bytes", 1)
    max_image_pixels: int = _setting(60_000_000, "largest image, width × height in pixels", 1)
    max_batch_images: int = _setting(10_000, "most images in one batch", 1, 100_000)
    max_aspect_ratio: int = _setting(1000, "most times that an image may be longer than wide, or wider than long", 1)

    # The job queue
    visibility_timeout_seconds: int = _setting(
        30, "how long a received job is hidden from other workers; renewed while it is worked on", 1, 43_200
    )
    max_receive_count: int = _setting(8, "deliveries of a job before it goes to the dead-letter queue", 1, 1000)
    receive_wait_seconds: int = _setting(5, "long poll of the job queue, seconds", 0, 20)

    # The app tier
    model_bundle: str = _setting("models/resnet50-twenty", "folder of the model bundle")
    worker_id: str = _setting("", "name of this worker in results and logs; the host's name where empty")
    interpreters: int = _setting(0, "interpreters, each with one thread; 0: one for each core", 0, 64)
    io_threads: int = _setting(0, "threads that fetch, decode and store images; 0: four for each core", 0, 64)
    inference_batch_size: int = _setting(8, "most images classified in one call of the interpreter", 1, 64)
    max_jobs_in_hand: int = _setting(30, "most jobs that a worker holds at a time", 1, 1000)
    top_k: int = _setting(5, "labels kept for each image, best first", 1, 10)
    idle_shutdown_seconds: float = _setting(
        0.0, "a worker leaves by itself after the queue was empty for so long, seconds; 0: never", 0.0
    )
    shutdown_grace_seconds: float = _setting(10.0, "time from SIGTERM until a worker must be gone, seconds", 0.0)

    # Scaling
    min_size: int = _setting(0, "fewest instances kept running", 0)
    max_size: int = _setting(15, "most instances kept running", 1)
    target_latency_seconds: float = _setting(
        2.0, "how long the backlog in front of one instance may take it, seconds", 0.001
    )
    mean_service_seconds: float = _setting(
        0.03, "how long one instance needs for one image while none has been measured, seconds", 0.0001
    )
    scale_in_stabilization_seconds: float = _setting(
        60.0, "scale-in follows the highest recommendation of this window, seconds", 0.0
    )
    controller_interval_seconds: float = _setting(1.0, "time between two scaling decisions, seconds", 0.05)

    # The janitor, beside the controller
    janitor_interval_seconds: float = _setting(15.0, "time between two rounds of the janitor, seconds", 0.05)
    orphan_age_seconds: float = _setting(
        60.0, "an upload without answer and without job is enqueued again when it is so old, seconds", 1.0
    )

    # The web tier
    unsure_below: float = _setting(0.5, "an answer with a lower score is shown as unsure", 0.0, 1.0)

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        defaults: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Reads the ``EIC_…`` variables of `environment`.

        Args:
            environment: variables, others than ours ignored.
            defaults: values by field name that apply where the environment says nothing.
            overrides: values by field name that apply whatever the environment says.

        Raises:
            SettingsError: a variable is unknown, not of its type or out of range; names all of them.
        """
        fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(cls)}
        problems: list[str] = []
        values: dict[str, Any] = dict(defaults or {})
        for variable, text in environment.items():
            if not variable.startswith(PREFIX):
                continue
            if variable not in fields:
                problems.append(f"{variable} is not a setting")
                continue
            field = fields[variable]  # its type is a name: annotations are text in this module
            try:
                values[field.name] = _KINDS[str(field.type)](text)
            except ValueError:
                problems.append(f"{variable} must be {_KIND_NAMES[str(field.type)]}, not {text!r}")
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(**{**values, **(overrides or {})})

    def __post_init__(self) -> None:
        problems = []
        for field in dataclasses.fields(self):
            value, low, high = getattr(self, field.name), field.metadata["minimum"], field.metadata["maximum"]
            if isinstance(value, str):
                continue
            # Written so that NaN, which compares false with everything, is refused too.
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                limit = f"at least {low}" if high is None else f"{low} to {high}"
                problems.append(f"{PREFIX}{field.name.upper()} must be {limit}, not {value}")
        if self.min_size > self.max_size:
            problems.append(f"{PREFIX}MIN_SIZE must not exceed {PREFIX}MAX_SIZE")
        if problems:
            raise SettingsError("; ".join(problems))

    def to_environment(self) -> dict[str, str]:
        """The variables that `from_environment` reads back as this object; for child processes."""
        return {PREFIX + f.name.upper(): str(getattr(self, f.name)) for f in dataclasses.fields(self)}


def render_markdown() -> str:
    """The table of all settings for the reference documentation."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        default = f"`{field.default}`" if field.default != "" else "(empty)"
        rows.append(f"| `{PREFIX}{field.name.upper()}` | {default} | {field.metadata['help']} |")
    return "\n".join(rows) + "\n"
