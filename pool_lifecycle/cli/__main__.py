"""`python -m pool_lifecycle.cli` is `pool-lifecycle`."""

from pool_lifecycle.cli import main

main()
