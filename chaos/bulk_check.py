"""Check of a bulk run that reads S3 alone: each photo of the source has exactly one row in the output's tables."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aws.clients import cloud_errors
from aws.objects import list_objects

SUCCESS_NAME = "_SUCCESS"


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What the tables lack and have too much of: keys.

    Attributes:
        rows: the number of rows.
        failed: the keys with an error in place of a label.
        problems: sentences on what is wrong with the output as a whole.
    """

    rows: int
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    foreign: tuple[str, ...]
    failed: tuple[str, ...]
    problems: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether every photo has exactly one row."""
        return not (self.lost or self.doubled or self.foreign or self.problems)


def check_tables(client: Any, source_bucket: str, source_prefix: str, output_bucket: str, prefix: str) -> BulkReport:
    """Compare the objects of the source with the rows of the tables, which are CSV or JSON Lines.

    Raises:
        CloudError: S3 refused or failed.
    """
    photos = {stored.key for stored in list_objects(client, source_bucket, source_prefix)}
    output = [stored.key for stored in list_objects(client, output_bucket, prefix)]
    tables = [key for key in output if not key.removeprefix(prefix).startswith("_")]
    left = [key for key in output if key.startswith((f"{prefix}_parts/", f"{prefix}_plan/"))]
    count, failed = Counter[str](), list[str]()
    problems = [] if f"{prefix}{SUCCESS_NAME}" in output else [f"there is no {SUCCESS_NAME}"]
    if left:
        problems.append(f"{len(left)} parts are left")
    for key in tables:
        for row in _rows(client, output_bucket, key):
            count[row["image"]] += 1
            if not row["label"]:
                failed.append(row["image"])
                if not row["error"]:
                    problems.append(f"{row['image']} has neither a label nor an error")
    return BulkReport(
        rows=count.total(),
        lost=tuple(sorted(photos - count.keys())),
        doubled=tuple(sorted(image for image, number in count.items() if number > 1)),
        foreign=tuple(sorted(count.keys() - photos)),
        failed=tuple(failed),
        problems=tuple(problems),
    )


def _rows(client: Any, bucket: str, key: str) -> Iterator[dict[str, Any]]:
    with cloud_errors("fetching the table"):
        text = client.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    if key.endswith(".csv"):
        yield from csv.DictReader(io.StringIO(text, newline=""))
    else:
        yield from (json.loads(line) for line in text.splitlines())
