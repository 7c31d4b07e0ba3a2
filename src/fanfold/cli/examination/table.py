"""The checks, in the order in which they are made; a new one is a function and a line here."""

from fanfold.cli.examination.findings import Check
from fanfold.cli.examination.here import (
    look_at_home,
    look_at_room,
    look_at_settings,
    look_at_versions,
)
from fanfold.cli.examination.places import (
    look_at_history,
    look_at_history_clock,
    look_at_store,
)
from fanfold.cli.examination.workers import (
    ANSWERS_S,
    look_at_clocks_there,
    look_at_runner,
    look_at_store_there,
    look_at_versions_there,
)

STORE_S = 30.0
"""Clients of object storages try again for so long."""
RUNNER_S = ANSWERS_S + 45.0
"""A cluster of one's own takes some seconds to start, more on a busy machine."""

CHECKS = (
    Check(name="versions", look=look_at_versions),
    Check(name="settings", look=look_at_settings),
    Check(name="home", look=look_at_home),
    Check(name="room", look=look_at_room),
    Check(name="storage", look=look_at_store, bound_s=STORE_S),
    Check(name="history", look=look_at_history, bound_s=STORE_S),
    Check(name="history clock", look=look_at_history_clock),
    Check(name="runner", look=look_at_runner, bound_s=RUNNER_S),
    # What the workers answered is at hand by now.
    Check(name="worker versions", look=look_at_versions_there),
    Check(name="worker storage", look=look_at_store_there),
    Check(name="worker clocks", look=look_at_clocks_there),
)
