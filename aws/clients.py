"""boto3 clients with the program's timeouts and retries.

Region, credentials and endpoint come from boto3's own environment variables; ``AWS_ENDPOINT_URL`` points
all of them at an embedded cloud.
"""

from __future__ import annotations

import functools
import os
import re
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

import boto3
import botocore.loaders
import botocore.session
import botocore.utils
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoRegionError, ProfileNotFound

from core.errors import (
    AlreadyExistsError,
    CloudError,
    DeniedError,
    ExpiredCredentialsError,
    NotConnectedError,
    NotFoundError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONNECT_TIMEOUT_SECONDS = 5
# Longer than SQS's longest long poll (20 s); otherwise a poll of an empty queue would time out.
READ_TIMEOUT_SECONDS = 30
MAX_ATTEMPTS = 5

# The price list is served in few regions, for all of them.
_REGION_OF = {"pricing": "us-east-1"}
_NO_REGION = "no region of AWS is set: set AWS_REGION, or AWS_PROFILE to a profile with a region"
# How services name what does not exist: most by the code's beginning or end, CloudFormation and Auto Scaling by the
# message of a ValidationError.
_NOT_FOUND = re.compile(r"404|NoSuch\w+|.*(NotFound|DoesNotExist)(Exception)?|.*NonExistentQueue")
_VALIDATION = "ValidationError"
_NOT_FOUND_MESSAGE = re.compile(r"does not exist|\bnot found\b")
# What S3 answers for an object that may not be read, or is archived; a missing one where the bucket may not be listed.
_DENIED = {"403", "AccessDenied", "AllAccessDisabled", "InvalidObjectState", "AccessDeniedException"}
_ALREADY_EXISTS = {"412", "PreconditionFailed", "ConditionalRequestConflict"}
# How services say that temporary credentials have ended; on an instance botocore renews them before.
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_EXPIRED_ADVICE = "sign in again, or copy new credentials, and repeat the command"


class Clients:
    """The low-level clients, each created on first use; safe to share between threads.

    Args:
        max_connections: size of each client's connection pool: at least the number of threads using it.
        max_attempts: attempts of a request before its error is raised; `MAX_ATTEMPTS` by default.
        environment: the ``AWS_…`` variables of an embedded cloud; by default boto3 finds endpoint, region and
            credentials as usual.
    """

    def __init__(
        self,
        max_connections: int = 16,
        max_attempts: int | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        session = _session()
        # The default parser guesses the format of each timestamp: two thirds of the cost of a listing.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_timestamp)
        self._session = boto3.session.Session(botocore_session=session)
        self._options = {} if environment is None else _client_options(environment)
        self._config = Config(
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            read_timeout=READ_TIMEOUT_SECONDS,
            max_pool_connections=max_connections,
            # "standard": exponential backoff with jitter, and a budget that stops retry storms.
            retries={"mode": "standard", "total_max_attempts": max_attempts or MAX_ATTEMPTS},
            # Path style works with every endpoint, with and without DNS for bucket names.
            s3={"addressing_style": "path"},
        )
        self._clients: dict[str, Any] = {}

    def __getitem__(self, service: str) -> Any:
        if service not in self._clients:
            config = self._config
            if service == "s3":
                # botocore still presigns with the old version 2 by default, which S3 refuses for newer buckets.
                config = config.merge(Config(signature_version="s3v4"))
            options = self._options
            if service in _REGION_OF:
                options = {**options, "region_name": _REGION_OF[service]}
            try:
                self._clients[service] = self._session.client(service, config=config, **options)
            except NoRegionError as error:
                raise NotConnectedError(_NO_REGION) from error
        return self._clients[service]

    def close(self) -> None:
        """Close all connections; a client that is used again opens new ones."""
        for client in self._clients.values():
            client.close()


def require_credentials() -> str:
    """Check that a region and credentials are found, without a request to AWS; return the region.

    Raises:
        NotConnectedError: they are not.
    """
    session = _session()
    # Outside EC2 the metadata service does not answer, and its default timeouts would take seconds.
    session.set_config_variable("metadata_service_timeout", 1)
    session.set_config_variable("metadata_service_num_attempts", 1)
    region = session.get_config_variable("region")
    if not region:
        raise NotConnectedError(_NO_REGION)
    try:
        found = session.get_credentials()
    except BotoCoreError as error:
        raise NotConnectedError(f"the credentials for AWS cannot be read: {error}") from error
    if found is None:
        raise NotConnectedError(
            "no credentials for AWS are found: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    return str(region)


class _FilesReadOnce(botocore.loaders.JSONFileLoader):  # type: ignore[misc]  # without types
    """The descriptions of services, each read once for all sessions of the process: EC2's alone takes 0.1 s."""

    @functools.cache  # noqa: B019 - one instance, which lives as long as the process
    def load_file(self, file_path: str) -> Any:
        return super().load_file(file_path)


_descriptions = _FilesReadOnce()


def _session() -> botocore.session.Session:
    session = botocore.session.get_session()
    # As AWS's other tools do; botocore itself reads AWS_DEFAULT_REGION alone.
    if (region := os.environ.get("AWS_REGION")) and not os.environ.get("AWS_DEFAULT_REGION"):
        session.set_config_variable("region", region)
    try:
        session.get_scoped_config()
    except ProfileNotFound as error:
        raise NotConnectedError(f"AWS_PROFILE: {error}") from error
    session.get_component("data_loader").file_loader = _descriptions
    return session


def _client_options(environment: Mapping[str, str]) -> dict[str, str | None]:
    return {
        "endpoint_url": environment.get("AWS_ENDPOINT_URL"),
        "region_name": environment.get("AWS_DEFAULT_REGION"),
        "aws_access_key_id": environment.get("AWS_ACCESS_KEY_ID"),
        "aws_secret_access_key": environment.get("AWS_SECRET_ACCESS_KEY"),
    }


@contextmanager
def cloud_errors(doing: str) -> Iterator[None]:
    """Convert botocore's errors to the program's; `doing` completes the sentence "… failed".

    Raises:
        NotFoundError: the object, queue, instance, stack or whatever the request names does not exist.
        AlreadyExistsError: a conditional write found an object.
        ExpiredCredentialsError: the credentials have ended.
        DeniedError: it may not be read or done.
        CloudError: anything else, after botocore's retries.
    """
    try:
        yield
    except ClientError as error:
        kind, sentence = _kind(error), f"{doing} failed: {error}"
        if kind is ExpiredCredentialsError:
            sentence = f"{sentence.rstrip('.')}; {_EXPIRED_ADVICE}"
        raise kind(sentence) from error
    except BotoCoreError as error:
        raise CloudError(f"{doing} failed: {error}") from error


def _kind(error: ClientError) -> type[CloudError]:
    named = error.response.get("Error", {})
    code, message = str(named.get("Code", "")), str(named.get("Message", ""))
    if _NOT_FOUND.fullmatch(code) or (code == _VALIDATION and _NOT_FOUND_MESSAGE.search(message)):
        return NotFoundError
    if code in _EXPIRED:
        return ExpiredCredentialsError
    if code in _DENIED:
        return DeniedError
    return AlreadyExistsError if code in _ALREADY_EXISTS else CloudError


def _parse_timestamp(value: Any) -> datetime:
    """Parse ISO 8601 in UTC, the form of S3 and EC2, fast; leave every other form to botocore."""
    if isinstance(value, str) and value.endswith("Z"):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    parsed: datetime = botocore.utils.parse_timestamp(value)
    return parsed
