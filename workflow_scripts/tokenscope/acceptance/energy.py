"""Does the counter of energy agree with the power that the driver tells once a second?"""

import time

import torch

from tokenscope.acceptance.outcome import Said
from tokenscope.jobs.energy import GpuMeter

SECONDS = 12.0
WATTS = 40.0, 1400.0  # of a device that works: below is another device, above none that exists
APART = 0.10


def counter() -> Said:
    """Joules of twelve seconds of matrix products, counted and sampled."""
    meter, start = GpuMeter(1), time.perf_counter()
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    while time.perf_counter() - start < SECONDS:
        for _ in range(20):
            a @ a
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    (reading,) = meter.stop()
    return judged(reading, seconds)


def judged(reading: dict, seconds: float) -> Said:
    """What one reading of :meth:`tokenscope.jobs.energy.GpuMeter.stop` says."""
    counted, sampled = reading["counter_joules"], reading["sampled_joules"]
    if counted is None:
        return Said(False, f"no counter: {reading['method']}")
    watts = counted / seconds
    text = f"{watts:.0f} W by the counter"
    if not sampled:
        return Said(False, f"{text}, power could not be sampled")
    apart = abs(sampled / counted - 1)
    text += f", samples {100 * apart:.1f} % apart"
    return Said(WATTS[0] < watts < WATTS[1] and apart < APART, text)
