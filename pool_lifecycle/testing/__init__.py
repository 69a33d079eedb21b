"""For tests of programs that use the library, and of drivers for it. Needs no test framework.

`virtual_time` runs a program in virtual time: hours pass in milliseconds, and a program that waits for
what can never happen is told so. `memory` has drivers that do what a script says.
"""

from pool_lifecycle.testing import memory, virtual_time

__all__ = ["memory", "virtual_time"]
