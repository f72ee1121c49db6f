"""Settings: one frozen object that is read once from the environment and validated as a whole.

Every setting is an environment variable ``EIC_<NAME>``.  Its default, unit and meaning are defined here;
`render_markdown` generates the table in ``docs/reference/settings.md``, and a test compares the two.  Region,
credentials and endpoint are set by boto3's own ``AWS_…`` variables, and an ``AWS_ENDPOINT_URL`` is the only
difference between the embedded cloud and AWS.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import SettingsError
from core.languages import LANGUAGES
from core.profiles import DEFAULT_PROFILE, PROFILES

PREFIX = "EIC_"
# The values that a setting may have, where it is one of a few texts.
CHOICES = {
    "scaling_policy": ("backlog", "request"),
    "compat_keys": ("batch", "name"),
    "compat_answer": ("name:label", "stem:label", "label"),
    "purchase_option": ("on-demand", "spot"),
    "cloud": ("auto", "aws"),
    "authentication": ("off", "tokens"),
    "stack": ("full", "simple"),
    "bulk_start": ("command", "web"),
}
# The settings in which `DEPLOYMENT_ID` is replaced by the setting `deployment_id`.
DEPLOYMENT_ID = "{id}"
NAMES = (
    "input_bucket",
    "output_bucket",
    "state_bucket",
    "queue_name",
    "dead_letter_queue_name",
    "response_queue_name",
    "bulk_queue_name",
)
MIN_SESSION_KEY_CHARACTERS = 32
MIN_MESSAGE_BYTES = 1024  # SQS's lower bound
_KINDS: dict[str, Callable[[str], Any]] = {"int": int, "float": float, "str": str}
_KIND_NAMES = {"int": "a whole number", "float": "a number", "str": "text"}


def _setting(
    default: Any, help: str, minimum: float | None = None, maximum: float | None = None, *, secret: bool = False
) -> Any:
    metadata = {"help": help, "minimum": minimum, "maximum": maximum, "secret": secret}
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """All settings; see `from_environment`."""

    # Which cloud
    cloud: str = _setting(
        "auto",
        "`auto`: the endpoint in `AWS_ENDPOINT_URL`, else the local stack that runs on this machine, else AWS if "
        "`AWS_PROFILE`, `AWS_REGION` or a key names it; `aws`: AWS",
    )
    local_stack: int = _setting(0, "port of the local stack to join; 0: the only one", 0, 65_535)

    # Names in the cloud
    deployment_id: str = _setting("elastic", "replaces `{id}` in the names of buckets and queues")
    input_bucket: str = _setting("elastic-input", "S3 bucket for uploaded images")
    output_bucket: str = _setting("elastic-output", "S3 bucket for results")
    state_bucket: str = _setting("elastic-state", "S3 bucket for lease, status, heartbeats and models")
    queue_name: str = _setting("elastic-jobs", "SQS queue of jobs")
    dead_letter_queue_name: str = _setting("elastic-jobs-dead", "SQS queue for jobs that failed too often")
    response_queue_name: str = _setting(
        "", "SQS queue to which workers also send answers, and from which the web tier takes them; empty: none"
    )
    bulk_queue_name: str = _setting("elastic-bulk", "SQS queue of bulk jobs; empty: none, and no bulk runs")
    launch_template_name: str = _setting("elastic-app-tier", "EC2 launch template of the app tier")
    fleet_name: str = _setting("elastic", "value of the tag `elastic:fleet` of this fleet's instances")
    instance_name_prefix: str = _setting(
        "app-tier-", "names of the fleet's instances before their numbers, which begin with 1"
    )
    web_instance_name: str = _setting(
        "", "local stack: name of an emulated instance that stands for the web tier's machine; empty: none"
    )

    # How instances are launched
    instance_types: str = _setting("t3.small,t3a.small", "EC2 instance types to choose from, separated by commas")
    subnet_ids: str = _setting("", "subnets to launch in, separated by commas; empty: the launch template's")
    purchase_option: str = _setting(
        "on-demand", "`on-demand`; or `spot`, with on-demand instances where spot has no capacity"
    )
    instance_usd_per_hour: float = _setting(
        0.0,
        "price of an instance with its address and disk for the estimated cost, US dollars; 0: that of the first of "
        "`EIC_INSTANCE_TYPES` in `core/prices.toml`",
        0.0,
    )

    # Limits on uploads
    max_image_bytes: int = _setting(10 * 1024 * 1024, "largest image file, bytes", 1)
    max_image_pixels: int = _setting(60_000_000, "largest image, width × height in pixels", 1)
    decode_memory_bytes: int = _setting(
        1472 * 1024 * 1024,
        "most memory for all images together that a worker is decoding, bytes; an image that needs more is refused",
        64 * 1024 * 1024,
    )
    max_batch_images: int = _setting(10_000, "most images in one batch", 1, 100_000)
    max_archive_bytes: int = _setting(
        2 * 1024 * 1024 * 1024,
        "largest ZIP archive, as sent and expanded, bytes; needs so much temporary disk space",
        1,
    )
    max_aspect_ratio: int = _setting(1000, "largest ratio of an image's longer side to its shorter side", 1)

    # The job queue
    visibility_timeout_seconds: int = _setting(
        30,
        "how long a received job is hidden from other workers, seconds; renewed while a worker has it in hand",
        1,
        43_200,
    )
    max_receive_count: int = _setting(8, "deliveries of a job before it is moved to the dead-letter queue", 1, 1000)
    max_message_bytes: int = _setting(
        0,
        "largest message of the local stack's job queue, 1024 or more, bytes; an image whose name makes its job "
        "longer is refused; 0: SQS's own limit",
        0,
        1024 * 1024,
    )
    receive_wait_seconds: int = _setting(5, "long poll of the job queue, seconds", 0, 20)

    # The app tier
    model_bundle: str = _setting("models/resnet50-imagenet", "folder of the model bundle")
    imagenet_weights_url: str = _setting(
        "https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
        "resnet50_weights_tf_dim_ordering_tf_kernels.h5",
        "where `elastic up`, `demo` and `model build imagenet` get Keras's weights; `off`: use the shipped model",
    )
    imagenet_weights_hash: str = _setting(
        # From `WEIGHTS_HASHES` in Keras's source.
        "md5:2cb95161c43110f7111970584f804107",
        "required hash of those weights: algorithm, colon, hexadecimal digits",
    )
    model_cache: str = _setting("", "folder for models from the model store; empty: the system's temporary folder")
    worker_role_id: str = _setting(
        "", "id of the workers' role, under which heartbeats are stored so that an instance can write only its own"
    )
    worker_id: str = _setting("", "name of this worker in results and logs; empty: the host's name")
    interpreters: int = _setting(0, "interpreters, each with one thread; 0: one for each core", 0, 64)
    io_threads: int = _setting(0, "threads that fetch, decode and store images; 0: four for each core", 0, 64)
    results_per_object: int = _setting(
        1,
        "most results of a batch that a worker stores in one object, which saves requests; at most a third of "
        "`EIC_MAX_JOBS_IN_HAND` takes effect; 1: each result is an object of its own",
        1,
        50,
    )
    inference_batch_size: int = _setting(8, "most images classified in one call of the interpreter", 1, 64)
    max_jobs_in_hand: int = _setting(30, "most jobs that a worker has in hand", 1, 1000)
    top_k: int = _setting(5, "labels kept for each image, best first", 1, 10)
    idle_shutdown_seconds: float = _setting(
        0.0, "a worker shuts down after the queue was empty for so long, seconds; 0: never", 0.0
    )
    shutdown_grace_seconds: float = _setting(10.0, "time from SIGTERM until a worker must have exited, seconds", 0.0)
    heartbeat_seconds: float = _setting(15.0, "time between two heartbeats of a worker, seconds", 0.1)

    # Scaling
    profile: str = _setting(
        DEFAULT_PROFILE, "`balanced`, `fast`, `thrifty` or `course`: values of some settings; see core/profiles.py"
    )
    scaling_policy: str = _setting(
        "backlog", "`backlog`: weighs boots against waits; `request`: one instance for each request, and then none"
    )
    min_size: int = _setting(0, "fewest instances kept running", 0)
    max_size: int = _setting(15, "most instances kept running", 1)
    target_latency_seconds: float = _setting(
        2.0, "how long the backlog in front of one instance may take, seconds", 0.001
    )
    mean_service_seconds: float = _setting(
        0.03, "assumed time that one instance needs for one image until one was measured, seconds", 0.0001
    )
    boot_payback: float = _setting(
        3.5, "an instance is launched if it is expected to work so many times as long as it boots; 0: always", 0.0
    )
    scale_in_stabilization_seconds: float = _setting(
        2.0, "scale-in follows the highest recommendation of this window, seconds", 0.0
    )
    scale_out_step: int = _setting(100, "most instances launched by one decision", 1)
    scale_in_step: int = _setting(100, "most instances terminated by one decision", 1)
    min_size_schedule: str = _setting(
        "", "a higher minimum at times, in UTC, such as `0 8 * * mon-fri = 2; 0 18 * * mon-fri = 0`"
    )
    controller_interval_seconds: float = _setting(1.0, "time between two scaling decisions, seconds", 0.05)
    measure_service: int = _setting(
        1, "1: use the service time that workers measure; 0: always use `mean_service_seconds`", 0, 1
    )
    expected_boot_seconds: float = _setting(
        30.0,
        "assumed time from an instance's launch to its worker's first heartbeat until one was measured, seconds",
        0.0,
    )
    boot_grace_seconds: float = _setting(
        180.0, "an instance without a heartbeat so long after its launch is replaced, seconds", 1.0
    )
    heartbeat_timeout_seconds: float = _setting(
        60.0, "an instance whose worker has published no heartbeat for so long is replaced, seconds", 1.0
    )
    lease_seconds: float = _setting(
        15.0,
        "a second controller takes over when the first has not renewed the lease for so long, seconds; four times as "
        "long while nothing is under way",
        1.0,
        86_400.0,
    )
    status_interval_seconds: float = _setting(
        5.0,
        "longest time between two publications of the fleet's status, seconds; ten times as long, but 25 s at most, "
        "while nothing is under way",
        0.1,
    )
    metrics_interval_seconds: float = _setting(
        60.0,
        "longest time between two reports of the controller's metrics to CloudWatch, seconds; 0: neither it nor "
        "workers report any",
        0.0,
    )
    stack: str = _setting(
        "full", "`full`, or `simple`: the deployment on AWS whose standing costs the fleet's page estimates"
    )

    # The janitor, a task of the controller
    janitor_interval_seconds: float = _setting(
        15.0, "time between two rounds of the janitor, seconds; ten times as long while nothing is under way", 0.05
    )
    orphan_age_seconds: float = _setting(
        60.0,
        "an orphan (an upload without a job and without a result) is enqueued again when it is so old, seconds",
        1.0,
    )

    drop_sweep_seconds: float = _setting(
        300.0,
        "time between two sweeps for photos below `drop/` in the input bucket whose notification has not come, seconds",
        1.0,
    )

    bulk_interval_seconds: float = _setting(
        5.0, "time between two rounds of the controller that plan bulk runs and enqueue their jobs, seconds", 0.05
    )

    bulk_start: str = _setting(
        "command",
        "who starts, cancels and resumes bulk runs: `command`: `elastic bulk` alone; `web`: page and API as well, for "
        "tokens with the scope `admin`; the same for web tier and controller",
    )
    bulk_buckets: str = _setting(
        "",
        "buckets that bulk runs of page and API may read and write, by name or ARN, separated by commas; `*`: all but "
        "the program's own; labels may also go below `bulk/` of the output bucket",
    )

    # The web tier
    unsure_below: float = _setting(0.5, "an answer with a lower score is shown as unsure", 0.0, 1.0)
    classify_wait_seconds: float = _setting(
        30.0, "how long `POST /api/v1/classify` waits for the result, seconds", 0.0, 300.0
    )
    compat_wait_seconds: float = _setting(
        300.0, "how long `POST /` with an `inputFile` waits for the result, seconds", 0.0, 3600.0
    )
    compat_keys: str = _setting(
        "batch",
        "keys of the images of `POST /`: `batch`: of hidden batches; `name`: the file's name, and for its result the "
        "name without ending, which all clients share",
    )
    compat_answer: str = _setting(
        "name:label",
        "response of `POST /`, and message of the response queue: `name:label`; `stem:label`: the name without its "
        "ending; or `label` alone",
    )
    webhook_allow_private: int = _setting(0, "1: webhooks may use plain HTTP and private addresses", 0, 1)

    languages: str = _setting(
        ",".join(LANGUAGES),
        "languages of pages and messages, separated by commas; the first is for clients that accept none of them",
    )

    client_silence_seconds: float = _setting(
        60.0, "a request is closed when its client has sent and received nothing for so long, seconds", 0.1
    )

    # Who may use the web tier
    authentication: str = _setting(
        "off", "`off`: all clients, and only on loopback; `tokens`: clients with an access token, see `elastic token`"
    )
    trusted_hosts: str = _setting(
        "", "host names that requests may use, separated by commas; empty: loopback's names, or any with tokens"
    )
    forwarded_proxies: int = _setting(
        0,
        "number of proxies in front, whose `X-Forwarded-For`, `X-Forwarded-Proto` and `X-Forwarded-Prefix` are trusted",
        0,
        10,
    )
    session_key: str = _setting(
        "",
        "key that signs session cookies, 32 characters or more; empty: a generated one in the state bucket",
        secret=True,
    )
    rate_limit_storage: str = _setting(
        "memory://", "where requests are counted: `memory://` in each process, or a shared store such as `redis://…`"
    )
    requests_per_minute: int = _setting(6000, "most requests of one access token in a minute", 1)
    stranger_requests_per_minute: int = _setting(
        120, "most requests of one address without a valid token in a minute", 1
    )
    batches_per_hour: int = _setting(1000, "most batches that one owner creates in an hour", 1)
    sign_ins_per_minute: int = _setting(10, "most attempts of one address to sign in, in a minute", 1)

    @classmethod
    def from_environment(
        cls,
        environment: Mapping[str, str],
        defaults: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
    ) -> Settings:
        """Read the ``EIC_…`` variables of `environment`.

        Args:
            environment: environment variables; those without the prefix are ignored.
            defaults: values by field name, for settings that neither the environment nor a profile sets.
            overrides: values by field name that replace those of the environment.

        Raises:
            SettingsError: a variable is unknown, not of its type or out of range; names all of them.
        """
        fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(cls)}
        problems: list[str] = []
        profile = environment.get(PREFIX + "PROFILE")
        values: dict[str, Any] = {**(defaults or {}), **PROFILES.get(profile or "", {})}
        for variable, text in environment.items():
            if not variable.startswith(PREFIX):
                continue
            if variable not in fields:
                problems.append(f"{variable} is not a setting")
                continue
            field = fields[variable]  # `type` is a string, because annotations are not evaluated in this module
            try:
                values[field.name] = _KINDS[str(field.type)](text)
            except ValueError:
                problems.append(f"{variable} must be {_KIND_NAMES[str(field.type)]}, not {text!r}")
        if problems:
            raise SettingsError("; ".join(problems))
        return cls(**{**values, **(overrides or {})})

    def __post_init__(self) -> None:
        for name in NAMES:
            object.__setattr__(self, name, getattr(self, name).replace(DEPLOYMENT_ID, self.deployment_id))
        problems = []
        for field in dataclasses.fields(self):
            value, low, high = getattr(self, field.name), field.metadata["minimum"], field.metadata["maximum"]
            if isinstance(value, str):
                continue
            if math.isinf(value):
                problems.append(f"{PREFIX}{field.name.upper()} must be finite")
                continue
            # NaN compares false with everything; this form refuses it too.
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                limit = f"at least {low}" if high is None else f"{low} to {high}"
                problems.append(f"{PREFIX}{field.name.upper()} must be {limit}, not {value}")
        if self.min_size > self.max_size:
            problems.append(f"{PREFIX}MIN_SIZE must not exceed {PREFIX}MAX_SIZE")
        if self.profile not in PROFILES:
            problems.append(f"{PREFIX}PROFILE must be one of {', '.join(PROFILES)}, not {self.profile!r}")
        if 0 < self.max_message_bytes < MIN_MESSAGE_BYTES:
            problems.append(f"{PREFIX}MAX_MESSAGE_BYTES must be 0, or at least {MIN_MESSAGE_BYTES}")
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                allowed = " or ".join(choices) if len(choices) == 2 else f"one of {', '.join(choices)}"
                problems.append(f"{PREFIX}{name.upper()} must be {allowed}")
        if 0 < len(self.session_key) < MIN_SESSION_KEY_CHARACTERS:
            problems.append(f"{PREFIX}SESSION_KEY must have {MIN_SESSION_KEY_CHARACTERS} characters or more")
        languages = split_list(self.languages)
        if not languages or not set(languages) <= LANGUAGES.keys():
            problems.append(f"{PREFIX}LANGUAGES must name languages of {', '.join(LANGUAGES)}, not {self.languages!r}")
        if not split_list(self.instance_types):
            problems.append(f"{PREFIX}INSTANCE_TYPES must name at least one instance type")
        if self.heartbeat_timeout_seconds < 2 * self.heartbeat_seconds:
            problems.append(f"{PREFIX}HEARTBEAT_TIMEOUT_SECONDS must be at least twice {PREFIX}HEARTBEAT_SECONDS")
        if problems:
            raise SettingsError("; ".join(problems))

    def to_environment(self) -> dict[str, str]:
        """Return the settings as variables for child processes, without secrets; `from_environment` reads them back."""
        return {
            PREFIX + f.name.upper(): str(getattr(self, f.name))
            for f in dataclasses.fields(self)
            if not f.metadata["secret"]
        }


SECRETS = frozenset(PREFIX + f.name.upper() for f in dataclasses.fields(Settings) if f.metadata["secret"])


def split_list(text: str) -> tuple[str, ...]:
    """Split a setting that is a list separated by commas."""
    return tuple(item for part in text.split(",") if (item := part.strip()))


def render_markdown() -> str:
    """Return the table of all settings for the reference documentation."""
    rows = ["| variable | default | meaning |", "| --- | --- | --- |"]
    for field in dataclasses.fields(Settings):
        default = f"`{field.default}`" if field.default != "" else "(empty)"
        rows.append(f"| `{PREFIX}{field.name.upper()}` | {default} | {field.metadata['help']} |")
    return "\n".join(rows) + "\n"
