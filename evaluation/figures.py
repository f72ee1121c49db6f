"""Compute the metrics of an evaluation from probabilities and true classes; pure functions.

SciPy and scikit-learn are imported where they are used: they take 1.5 s, and commands import this module to show help.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TOP_K = 5
CALIBRATION_BINS = 15
# Smaller probabilities are rounded to 0 by some models; a logarithm needs a number.
_SMALLEST_PROBABILITY = 1e-12
# Logarithms of the temperatures that are tried, 1/10 to 10.
_LOG_TEMPERATURES = (-2.3, 2.3)
_AVERAGES = ("micro", "macro", "weighted")


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """The photos whose top probability lies in (lower, upper]: their number, mean confidence and accuracy."""

    lower: float
    upper: float
    images: int
    confidence: float
    accuracy: float


def measure(truth: NDArray[np.intp], probabilities: NDArray[np.float32], labels: Sequence[str]) -> dict[str, Any]:
    """Computes all metrics, as JSON values; shares are rounded to four digits.

    ``precision``, ``recall`` and ``f1`` are macro averages over the classes in `truth`: they are undefined for a class
    without a photo.  The precision of a class that was never predicted counts as 0.

    Args:
        truth: the number of the true class of each photo, shape (photos,).
        probabilities: shape (photos, labels).
    """
    from sklearn.metrics import accuracy_score

    predicted = probabilities.argmax(axis=1)
    classes = np.unique(truth)
    averages = {}
    for average in _AVERAGES:
        # Micro averages over all classes equal the accuracy.  Over the classes present, a prediction of another class
        # would not count as a false positive.
        within = None if average == "micro" else classes
        averages[average] = _scores(truth, predicted, labels=within, average=average)
    bins = calibration_bins(truth, probabilities)
    return {
        "images": len(truth),
        "classes": len(classes),
        "accuracy": _rounded(accuracy_score(truth, predicted)),
        "top5": _rounded(top_k(truth, probabilities)),
        **averages["macro"],
        "averages": averages,
        "ece": _rounded(expected_calibration_error(bins)),
        "temperature": _rounded(best_temperature(truth, probabilities)),
        "mean_confidence": _rounded(probabilities.max(axis=1).mean()),
        "per_class": _per_class(truth, predicted, classes, labels),
        "confusion": confusion(truth, predicted, labels),
        "calibration": [
            {
                "from": _rounded(each.lower),
                "to": _rounded(each.upper),
                "images": each.images,
                "confidence": _rounded(each.confidence),
                "accuracy": _rounded(each.accuracy),
            }
            for each in bins
        ],
    }


def top_k(truth: NDArray[np.intp], probabilities: NDArray[np.float32], k: int = TOP_K) -> float:
    """The share of photos whose true class is among the `k` most probable."""
    from sklearn.metrics import top_k_accuracy_score

    count = probabilities.shape[1]
    if count <= k:
        return 1.0
    return float(top_k_accuracy_score(truth, probabilities, k=k, labels=np.arange(count)))


def calibration_bins(
    truth: NDArray[np.intp], probabilities: NDArray[np.float32], count: int = CALIBRATION_BINS
) -> list[CalibrationBin]:
    """Sorts photos by their top probability into `count` bins of equal width; empty bins are left out."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == truth
    edges = np.linspace(0.0, 1.0, count + 1)
    place = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, count - 1)
    return [
        CalibrationBin(
            float(edges[number]),
            float(edges[number + 1]),
            int(here.sum()),
            float(confidence[here].mean()),
            float(right[here].mean()),
        )
        for number in range(count)
        if (here := place == number).any()
    ]


def expected_calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """ECE of Guo et al., "On Calibration of Modern Neural Networks" (2017): mean |accuracy - confidence| by images."""
    images = sum(each.images for each in bins)
    return sum(each.images * abs(each.accuracy - each.confidence) for each in bins) / images


def best_temperature(truth: NDArray[np.intp], probabilities: NDArray[np.float32]) -> float:
    """The number by which the logits should be divided for the scores to be probabilities; 1 if they are.

    Temperature scaling of Guo et al. (2017): the one with the smallest negative log-likelihood.
    """
    from scipy.optimize import minimize_scalar
    from scipy.special import log_softmax

    logits = np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST_PROBABILITY))
    rows = np.arange(len(truth))

    def negative_log_likelihood(log_temperature: float) -> float:
        return -float(log_softmax(logits / np.exp(log_temperature), axis=1)[rows, truth].mean())

    found = minimize_scalar(negative_log_likelihood, bounds=_LOG_TEMPERATURES, method="bounded")
    return float(np.exp(found.x))


def confusion(truth: NDArray[np.intp], predicted: NDArray[np.intp], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """The confusion matrix without its zeros: photos by true and by predicted label."""
    counts = Counter(zip(truth.tolist(), predicted.tolist(), strict=True))
    matrix: dict[str, dict[str, int]] = {}
    for (true, answered), images in sorted(counts.items()):
        matrix.setdefault(labels[true], {})[labels[answered]] = images
    return matrix


def most_confused(matrix: dict[str, dict[str, int]], limit: int) -> list[tuple[str, str, int]]:
    """The most frequent confusions: (true label, predicted label, photos)."""
    pairs = [(true, answered, n) for true, row in matrix.items() for answered, n in row.items() if true != answered]
    return sorted(pairs, key=lambda pair: -pair[2])[:limit]


def suspected_label_errors(truth: NDArray[np.intp], probabilities: NDArray[np.float32]) -> list[int]:
    """The positions of photos whose label is probably wrong, those with the largest margin first.

    By the rule of confident learning (Northcutt et al., 2021): the model gives another class at least the probability
    that it gives on average to photos labelled with that class.
    """
    rows, predicted = np.arange(len(truth)), probabilities.argmax(axis=1)
    own = probabilities[rows, truth]
    average = np.full(probabilities.shape[1], np.inf)
    for number in np.unique(truth):
        average[number] = own[truth == number].mean()
    best = probabilities[rows, predicted]
    suspicious = np.flatnonzero((predicted != truth) & (best >= average[predicted]))
    margin = best - own
    return [int(position) for position in suspicious[np.argsort(-margin[suspicious], kind="stable")]]


def _per_class(
    truth: NDArray[np.intp], predicted: NDArray[np.intp], classes: NDArray[np.intp], labels: Sequence[str]
) -> list[dict[str, Any]]:
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(truth, predicted, labels=classes, zero_division=0)
    return [
        {
            "label": labels[number],
            "images": int(images),
            "precision": _rounded(precision),
            "recall": _rounded(recall),
            "f1": _rounded(f1),
        }
        for number, precision, recall, f1, images in zip(classes, *columns, strict=True)
    ]


def _scores(truth: NDArray[np.intp], predicted: NDArray[np.intp], **options: Any) -> dict[str, float]:
    from sklearn.metrics import precision_recall_fscore_support

    precision, recall, f1, _ = precision_recall_fscore_support(truth, predicted, zero_division=0, **options)
    return {"precision": _rounded(precision), "recall": _rounded(recall), "f1": _rounded(f1)}


def _rounded(value: Any) -> float:
    return round(float(value), 4)
