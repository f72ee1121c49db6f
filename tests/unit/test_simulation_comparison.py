"""What the project promises of its policy, on traces short enough for a test; `elastic simulate` shows all of them."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from cli import main
from core.prices import load_prices
from core.profiles import PROFILES
from core.settings import Settings
from simulation.comparison import OPTIMUM, Comparison, compare, steps
from simulation.picture import make_figure, plain_number
from simulation.traces import TRACES, Trace, TraceError, read_csv

KEYS = {
    "trace",
    "scaler",
    "images",
    "p50_wait_seconds",
    "p95_wait_seconds",
    "max_wait_seconds",
    "drain_seconds",
    "instance_seconds",
    "cost_ratio",
    "busy_killed",
    "thrash",
    "empty_launches",
    "peak_spread",
    "usd",
}


def _short_curve(rng: np.random.Generator) -> np.ndarray:
    """The rates of the curve of a day, in half an hour: they change 48 times as fast."""
    minutes = np.arange(30)
    rate = 2_000_000 / 1440 * (1 + 0.9 * np.sin((minutes - 12.5) / 30 * 2 * math.pi))
    counts = rng.poisson(rate)
    return np.sort(np.repeat(minutes * 60.0, counts) + rng.random(int(counts.sum())) * 60)


SHORT = {
    "burst": dataclasses.replace(TRACES["burst"], runs=20),
    "by-hand": dataclasses.replace(TRACES["by-hand"], runs=8),
    "crowd": dataclasses.replace(TRACES["crowd"], runs=2),
    "drip": dataclasses.replace(TRACES["drip"], runs=1),
    "curve": Trace("curve", "a day's curve in half an hour", _short_curve, max_size=3),
}


@pytest.fixture(scope="module")
def comparisons() -> dict[str, Comparison]:
    return {name: compare(trace, Settings(), seed=1) for name, trace in SHORT.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_no_other_is_both_faster_and_cheaper(comparisons: dict[str, Comparison], name: str) -> None:
    assert comparisons[name].beaten_by == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["burst", "crowd", "curve"])
def test_the_cost_is_within_a_quarter_of_the_optimum(comparisons: dict[str, Comparison], name: str) -> None:
    assert 1.0 <= comparisons[name].ours.cost_ratio <= 1.25


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_scale_in_kills_no_instance_at_work(comparisons: dict[str, Comparison], name: str) -> None:
    assert comparisons[name].ours.busy_killed == 0


def test_every_step_is_reported() -> None:
    trace = dataclasses.replace(TRACES["burst"], runs=2)
    reported: list[str] = []
    compare(trace, Settings(), 1, reported.append)
    assert len(reported) == steps(trace) == 10


def test_fast_takes_fifteen_instances_for_a_hundred_images_and_is_faster() -> None:
    fast = Settings.from_environment({"EIC_PROFILE": "fast"})
    ours = compare(SHORT["burst"], fast, 1).ours
    assert (ours.scaler, ours.peak) == ("fast", 15)
    balanced = compare(SHORT["burst"], Settings(), 1).ours
    assert ours.p95_wait_seconds < balanced.p95_wait_seconds
    # Billed for its boots, for 3 s of work, and for some seconds after the last answer.
    assert ours.instance_seconds < 15 * (26 + 10)


@pytest.mark.parametrize("profile", ["balanced", "fast"])
def test_equal_bursts_have_equal_fleets_and_nothing_is_launched_between_them(profile: str) -> None:
    trace = dataclasses.replace(TRACES["bursts"], runs=1)
    found = compare(trace, Settings.from_environment({"EIC_PROFILE": profile}), 1)
    assert (found.ours.peak_spread, found.ours.empty_launches) == (0, 0)
    assert (found.ours.peak, found.ours.launches) == ((1, 10) if profile == "balanced" else (15, 150))
    assert (found.row("keda").peak_spread or 0) > 0, "the measure can see a spread"


@pytest.mark.slow
def test_thrifty_takes_fewer_instances_than_balanced(comparisons: dict[str, Comparison]) -> None:
    thrifty = compare(SHORT["crowd"], Settings(profile="thrifty", **PROFILES["thrifty"]), 1).ours
    balanced = comparisons["crowd"].ours
    assert thrifty.instance_seconds < balanced.instance_seconds and (thrifty.peak or 0) < (balanced.peak or 0)


# --- traces from files ---------------------------------------------------------------------------


def test_a_csv_file_is_a_trace(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("seconds,images\n12.5,2\n10,1\n20,\n30,0\n")
    trace = read_csv(path)
    assert trace.name == "mine"
    assert trace.draw(np.random.default_rng(0)).tolist() == [0.0, 2.5, 2.5, 10.0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "needs a header line with a column 'seconds'"),
        ("time,images\n1,1\n", "needs a header line with a column 'seconds'"),
        ("seconds\nsoon\n", "bad.csv, line 2: 'seconds' and 'images' must be numbers"),
        ("seconds,images\n1,1\n2,many\n", "bad.csv, line 3: 'seconds' and 'images' must be numbers"),
        ("seconds,images\n1\n-1,1\n", "bad.csv, line 3: out of range"),
        ("seconds\nnan\n", "bad.csv, line 2: out of range"),
        ("seconds,images\n1,-1\n", "bad.csv, line 2: out of range"),
        ("seconds,images\n1,0\n", "bad.csv has no images"),
        ("seconds\n", "bad.csv has no images"),
        ("seconds,images\n1,30000000\n", "bad.csv has more than 20,000,000 images"),
    ],
)
def test_a_file_that_is_no_trace_is_named_in_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(TraceError, match=sentence):
        read_csv(path)
    result = CliRunner().invoke(main, ["simulate", "--trace", str(path)])
    assert result.exit_code == 2 and sentence in result.output and "Traceback" not in result.output


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--trace", "bursting"], "there is no trace 'bursting': name one of burst, bursts, by-hand"),
        (["--trace", "missing.csv"], "missing.csv cannot be read"),
    ],
)
def test_a_wrong_trace_is_named_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(main, ["simulate", *arguments])
    assert result.exit_code == 2 and sentence in result.output.replace("\n", " ")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--profile", "frugal"], "'frugal' is not one of 'balanced', 'fast', 'thrifty', 'course'"),
        (["--picture", "chart.bmp"], "chart.bmp must end in .png or .svg"),
        (["--picture", "chart"], "chart must end in .png or .svg"),
        (["--picture", "/nope/chart.png"], "there is no folder /nope"),
        (["--json", "/nope/report.json"], "there is no folder /nope"),
        (["--json", "/"], "/ is a folder"),
        (["--seed", "-1"], "-1 is not in the range"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.simulate.run", lambda *_: pytest.fail("the simulation was run"))
    result = CliRunner().invoke(main, ["simulate", *arguments])
    assert result.exit_code == 2 and sentence in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_the_help_lists_every_trace_with_its_title() -> None:
    text = CliRunner().invoke(main, ["simulate", "--help"], terminal_width=80).output
    for trace in TRACES.values():
        assert re.search(rf"^ +{trace.name} +{re.escape(trace.title)}$", text, re.M), trace.name
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_ticks_of_the_chart_are_numbers_that_people_write() -> None:
    trace = dataclasses.replace(TRACES["burst"], runs=1)
    figure = make_figure([compare(trace, Settings(), seed=1)])
    figure.canvas.draw()
    labels = [
        label.get_text()
        for axes in figure.axes
        for axis in (axes.xaxis, axes.yaxis)
        for label in (*axis.get_majorticklabels(), *axis.get_minorticklabels())
        if label.get_text() and axes.get_xscale() == "log"
    ]
    assert len(labels) > 5
    assert [label for label in labels if not re.fullmatch(r"[\d,]+(\.\d+)?", label)] == []


@pytest.mark.parametrize(
    ("value", "text"), [(0.002, "0.002"), (0.5, "0.5"), (1.0, "1"), (60, "60"), (1500, "1,500"), (2e7, "20,000,000")]
)
def test_a_plain_number_has_no_exponent(value: float, text: str) -> None:
    assert plain_number(value) == text


def test_the_command_prints_a_table_and_writes_its_files(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    path.write_text("seconds,images\n0,50\n90,10\n")
    report, picture = tmp_path / "report.json", tmp_path / "picture.png"
    arguments = ["simulate", "--trace", str(path), "--json", str(report), "--picture", str(picture)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "two: 60 images of two.csv" in result.output
    assert max(len(line) for line in result.output.splitlines()[:8]) <= 80
    rows = json.loads(report.read_text())
    assert all(row.keys() >= KEYS for row in rows)
    for row in rows:
        hourly = load_prices().worker_usd_per_hour(["t3.small"])
        assert row["usd"] == pytest.approx(row["instance_seconds"] / 3600 * hourly, abs=1e-5)
    assert "1,000 instance-seconds cost $0.0074 (us-east-1, prices of" in result.output
    assert [row["scaler"] for row in rows] == ["balanced", "visible-only", "aws-target-tracking", "keda", OPTIMUM]
    with Image.open(picture) as drawn:
        assert drawn.width == 1800
    again = tmp_path / "again.json"
    CliRunner().invoke(main, ["simulate", "--trace", str(path), "--json", str(again)])
    assert again.read_text() == report.read_text(), "the same seed gives the same figures"
