"""The server with a journal of sessions that is filled and folded all the time.

As it ships the journal begins with some two thousand sessions, more than a round has: nothing would be shown of it.

Usage: python -m tests.faults.small_journal serve
"""

import sys

from mooring_runtime.sessions import journal

# Before the store is imported, whose default it is.
journal.JOURNALING = journal.Journaling(leaves=1, size=6000)

if __name__ == "__main__":
    from mooring_runtime.__main__ import main

    sys.exit(main())
