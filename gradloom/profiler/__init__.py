"""Where the time goes, kernel by kernel, and the share of the machine's limit that was reached; PyTorch's names."""

from gradloom.profiler.events import Event, EventList
from gradloom.profiler.limits import Limits, machine_limits
from gradloom.profiler.profile import (
    ProfilerAction,
    ProfilerActivity,
    profile,
    record_function,
    schedule,
    tensorboard_trace_handler,
)

__all__ = [
    "Event",
    "EventList",
    "Limits",
    "ProfilerAction",
    "ProfilerActivity",
    "machine_limits",
    "profile",
    "record_function",
    "schedule",
    "tensorboard_trace_handler",
]
