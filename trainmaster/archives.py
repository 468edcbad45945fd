"""`tarfile` with the filters that keep a hostile archive inside its folder, on every Python we support."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info >= (3, 12):
    import tarfile
else:
    from backports import tarfile  # 3.11.0 to 3.11.3, Debian 12's among them, have no filters

__all__ = ["tarfile"]
