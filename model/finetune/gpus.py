"""What the GPU of a process does, as far as PyTorch and NVIDIA's library tell; nothing on a CPU."""

from __future__ import annotations

from typing import Any


def figures(cuda: Any) -> dict[str, float]:
    """Of the current device of `torch.cuda`: the most memory it took so far (GB of 10⁹ bytes, and per cent of what it has), and how
    busy it is in per cent, where pynvml is installed. Empty without a GPU."""
    if not cuda.is_available():
        return {}
    device = cuda.current_device()
    taken, total = cuda.max_memory_reserved(device), cuda.get_device_properties(device).total_memory
    found = {"gpu_memory_gb": taken / 1e9, "gpu_memory_percent": 100 * taken / total if total else 0.0}
    busy = _utilization(cuda, device)
    return found if busy is None else {**found, "gpu_utilization": busy}


def memory_gb(cuda: Any) -> float:
    """Of the current device; 0 without one."""
    if not cuda.is_available():
        return 0.0
    return float(cuda.get_device_properties(cuda.current_device()).total_memory) / 1e9


def _utilization(cuda: Any, device: int) -> float | None:
    try:
        return float(cuda.utilization(device))
    except (ImportError, OSError, RuntimeError):  # no pynvml, or a driver that does not tell it
        return None
    except Exception as error:
        if any(kind.__name__ == "NVMLError" for kind in type(error).__mro__):  # what pynvml raises, where there is one
            return None
        raise
