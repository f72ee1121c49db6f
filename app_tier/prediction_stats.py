"""Prediction statistics of a worker: counts of labels and scores, for drift detection."""

from __future__ import annotations

import threading
from collections import Counter

from core.jobs import ClassificationResult
from core.prediction_counts import CONFIDENCE_BINS, AnswerCounts


class PredictionStats:
    """Count the best label and its score of each result; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._labels: Counter[str] = Counter()
        self._confidence = [0] * CONFIDENCE_BINS

    def __call__(self, result: ClassificationResult) -> None:
        """Count one result; failures are left out."""
        if result.predictions:
            best = result.predictions[0]
            with self._lock:
                self._labels[best.label] += 1
                self._confidence[min(int(best.score * CONFIDENCE_BINS), CONFIDENCE_BINS - 1)] += 1

    def counts(self) -> AnswerCounts:
        """Everything counted so far."""
        with self._lock:
            return AnswerCounts(dict(self._labels), tuple(self._confidence))
