"""Set-up of a long-running process: what it has loaded is not looked at by the garbage collector again."""

from __future__ import annotations

import gc

from core import process_setup


def test_what_was_loaded_is_frozen_and_the_collector_runs_again() -> None:
    process_setup.pause_collection()
    try:
        assert not gc.isenabled()
        loaded: list[object] = []
        loaded.append(loaded)
    finally:
        process_setup.resume_collection()
    try:
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0
        assert not any(found is loaded for found in gc.get_objects())
    finally:
        gc.unfreeze()
