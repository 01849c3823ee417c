"""What a run ran on, and with which settings of torch that its numbers depend on."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Describe the machine: system, processor, memory, accelerators, numbers of threads.

    What can't be found out is left out. torch is asked only if it is imported already.

    >>> machine()["cpus"] == os.cpu_count()
    True
    """
    found: dict[str, Any] = {
        "platform": platform.platform(),
        "machine": platform.machine(),
        "host": platform.node(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "memory_bytes": _memory(),
    }
    torch = sys.modules.get("torch")
    if torch is not None:  # a record is not worth importing it
        found["threads"] = torch.get_num_threads()
        found["interop_threads"] = torch.get_num_interop_threads()
        found["cuda"] = torch.version.cuda
        found["accelerators"] = accelerators()
    return found


def brief() -> dict[str, Any]:
    """Describe only what a run's bits depend on: processor, threads, accelerators."""
    import torch

    return {
        "machine": platform.machine(),
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "accelerators": [one["name"] for one in accelerators()],
    }


def accelerators() -> list[dict[str, Any]]:
    """Name each accelerator that torch sees, with its memory in bytes where that is known."""
    import torch

    if torch.cuda.is_available():
        every = [torch.cuda.get_device_properties(at) for at in range(torch.cuda.device_count())]
        return [{"name": one.name, "memory_bytes": one.total_memory} for one in every]
    if torch.backends.mps.is_available():
        return [{"name": "mps"}]
    return []


def determinism() -> dict[str, Any]:
    """Say how torch is set where the results of a run depend on it; {} if it is not imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        return {}
    return {
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "float32_matmul_precision": torch.get_float32_matmul_precision(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "flush_denormal": bool(torch.tensor([1e-310], dtype=torch.float64).mul(1)[0] == 0),
    }


def cpu_model() -> str | None:
    """Return the processor's name, as the system calls it."""
    try:
        for line in (
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        ):
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or None


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not this system's
        return None
