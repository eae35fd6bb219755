"""What holds for all tests."""

import os

os.environ.setdefault("GRADLOOM_PLAN_CACHE", "0")  # programs are planned, not taken from an earlier run
