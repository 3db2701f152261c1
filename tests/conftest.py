"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A machine that others use as well is no fault of a test: how long an input takes is not what it asserts.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")
