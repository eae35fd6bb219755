"""How many threads programs run on.

The default is the number of cores this process may use: those its affinity names, hardware threads of one core counted
once, and no more than the control group's processor quota. ``GRADLOOM_NUM_THREADS`` and then ``OMP_NUM_THREADS``
replace it. The number never changes a result, only the time it takes.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cgroup_quota", "default_num_threads", "get_num_threads", "set_num_threads"]

_chosen: int | None = None


def cgroup_quota(root: Path = Path("/")) -> float | None:
    """Processors that the control group grants, or None without a limit.

    Looks at version 2 (``cpu.max``) and version 1 (``cpu.cfs_quota_us``) in this process's group and those above it;
    the least counts. ``root`` is where ``proc`` and ``sys`` are found.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    least: float | None = None
    mount = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if controllers == "":
            bases = [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            bases = [mount / "cpu", mount / "cpu,cpuacct"]
        else:
            continue
        parts = [p for p in group.split("/") if p and p != ".."]
        for base in bases:
            for depth in range(len(parts), -1, -1):  # inside a container the path may not exist, the top does
                share = _share(base.joinpath(*parts[:depth]))
                if share is not None and (least is None or share < least):
                    least = share
    return least


def _share(folder: Path) -> float | None:
    """The quota of one group's folder, in processors."""
    try:
        quota, period = (folder / "cpu.max").read_text().split()[:2]
    except (OSError, ValueError):
        try:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        share = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max"
        return None
    return share if share > 0 else None


def _cores() -> int:
    """Physical cores among the processors this process may run on."""
    try:
        allowed = os.sched_getaffinity(0)
    except (AttributeError, OSError):
        return os.cpu_count() or 1
    siblings = set()
    for cpu in allowed:
        path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        try:
            siblings.add(path.read_text().strip())
        except OSError:
            siblings.add(str(cpu))
    return max(1, len(siblings))


def default_num_threads() -> int:
    """The number of threads where nobody chose one; see the module."""
    for variable in ("GRADLOOM_NUM_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0].strip()  # OMP_NUM_THREADS may hold a list, one per level
        if text.isdigit() and int(text) > 0:
            return int(text)
    quota = cgroup_quota()
    cores = _cores()
    return cores if quota is None else max(1, min(cores, round(quota)))


def get_num_threads() -> int:
    """The number of threads that programs run on, the calling one included."""
    global _chosen
    if _chosen is None:
        _chosen = default_num_threads()
    return _chosen


def set_num_threads(n: int) -> None:
    """Run programs on ``n`` threads, the calling one included. Raises ValueError for less than one or over 1024."""
    global _chosen
    if not 1 <= n <= 1024:
        raise ValueError(f"the number of threads must be from 1 to 1024, got {n}")
    _chosen = int(n)
    from gradloom.runtime.native import existing_pool

    pool = existing_pool()
    if pool is not None:
        pool.want(_chosen - 1)
