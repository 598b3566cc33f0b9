"""What both workers of the benchmark measure, and how."""

import resource
import time


def peak_mib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def quickest(report, name, times, run):
    """Notes `name`_s and `name`_cpu_s, seconds of the clock and of the processor; answers what the
    last run gave."""
    found = None
    for _ in range(times):
        before, processor = time.perf_counter(), time.process_time()
        found = run()
        taken = {f"{name}_s": time.perf_counter() - before,
                 f"{name}_cpu_s": time.process_time() - processor}
        for key, seconds in taken.items():
            report[key] = min(report.get(key, seconds), seconds)
    return found
