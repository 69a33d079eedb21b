"""For tests of programs that use the library, and of drivers for it. Needs no test framework.

`virtual_time.run` runs a program in virtual time: hours pass in milliseconds, and a program that waits for
what can never happen is told so. `memory` has drivers that do what a script says. The `check_*` functions
show whether a driver keeps the promises of its interface. `strategies`, which needs hypothesis and is
imported by itself, draws valid values.
"""

from pool_lifecycle.testing import memory, virtual_time
from pool_lifecycle.testing.check_engine_profile import check_engine_profile
from pool_lifecycle.testing.check_gpu_probe import check_gpu_probe
from pool_lifecycle.testing.check_health_probe import check_health_probe
from pool_lifecycle.testing.check_launcher import check_launcher
from pool_lifecycle.testing.check_model_stager import check_model_stager
from pool_lifecycle.testing.memory import (
    EngineScript,
    MemoryEngine,
    MemoryGpuProbe,
    MemoryHealthProbe,
    MemoryLauncher,
    MemoryProfile,
    MemoryStager,
    ProbeScript,
    StageScript,
)
from pool_lifecycle.testing.virtual_time import (
    Deadlock,
    LeakedTasks,
    UnhandledErrors,
    outside,
    run,
    settle,
    timed,
)

__all__ = [
    "Deadlock",
    "EngineScript",
    "LeakedTasks",
    "MemoryEngine",
    "MemoryGpuProbe",
    "MemoryHealthProbe",
    "MemoryLauncher",
    "MemoryProfile",
    "MemoryStager",
    "ProbeScript",
    "StageScript",
    "UnhandledErrors",
    "check_engine_profile",
    "check_gpu_probe",
    "check_health_probe",
    "check_launcher",
    "check_model_stager",
    "memory",
    "outside",
    "run",
    "settle",
    "timed",
    "virtual_time",
]
