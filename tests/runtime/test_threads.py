"""How the number of threads is found out."""

from __future__ import annotations

import os

import pytest

from gradloom.runtime import threads
from gradloom.runtime.threads import cgroup_quota, default_num_threads


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_version_2_takes_the_least_of_group_and_parents(tmp_path):
    write(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path, "sys/fs/cgroup/a/b/cpu.max", "400000 100000\n")
    assert cgroup_quota(tmp_path) == 4
    write(tmp_path, "sys/fs/cgroup/a/cpu.max", "150000 100000\n")
    assert cgroup_quota(tmp_path) == 1.5
    write(tmp_path, "sys/fs/cgroup/a/cpu.max", "max 100000\n")
    assert cgroup_quota(tmp_path) == 4


def test_version_2_inside_a_container(tmp_path):
    """The path is the host's; only the mount's top is visible."""
    write(tmp_path, "proc/self/cgroup", "0::/../../docker/0123\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", "200000 100000\n")
    assert cgroup_quota(tmp_path) == 2


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path, mount):
    write(tmp_path, "proc/self/cgroup", "12:memory:/x\n4:cpu,cpuacct:/slice/job\n")
    write(tmp_path, f"sys/fs/cgroup/{mount}/slice/job/cpu.cfs_quota_us", "250000\n")
    write(tmp_path, f"sys/fs/cgroup/{mount}/slice/job/cpu.cfs_period_us", "100000\n")
    write(tmp_path, f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us", "-1\n")
    write(tmp_path, f"sys/fs/cgroup/{mount}/cpu.cfs_period_us", "100000\n")
    assert cgroup_quota(tmp_path) == 2.5


@pytest.mark.parametrize("text", ["", "max 100000", "garbage", "100 0", "x y"])
def test_no_limit_or_nonsense(tmp_path, text):
    assert cgroup_quota(tmp_path) is None
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert cgroup_quota(tmp_path) is None


@pytest.mark.parametrize(
    ("own", "omp", "quota", "cores", "expected"),
    [
        ("5", "3", 1.0, 8, 5),
        ("", "3", 1.0, 8, 3),
        ("", "4,2", None, 8, 4),
        ("0", "none", None, 8, 8),
        ("", "", 2.5, 8, 2),
        ("", "", 0.3, 8, 1),
        ("", "", 16.0, 8, 8),
        ("", "", None, 8, 8),
    ],
)
def test_precedence(monkeypatch, own, omp, quota, cores, expected):
    monkeypatch.setenv("GRADLOOM_NUM_THREADS", own)
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(threads, "cgroup_quota", lambda: quota)
    monkeypatch.setattr(threads, "_cores", lambda: cores)
    assert default_num_threads() == expected


def test_cores_follow_affinity():
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs sched_setaffinity")
    before = os.sched_getaffinity(0)
    assert 1 <= threads._cores() <= len(before)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads._cores() == 1
    finally:
        os.sched_setaffinity(0, before)
