"""Who goes on after a kernel's death: of several pages with one notebook, the first that asks its new kernel."""

from __future__ import annotations

_asked = False


def first() -> bool:
    """Whether this is the first time that it is asked in this process; a kernel takes its requests one by one."""
    global _asked
    before, _asked = _asked, True
    return not before
