"""Where `fab` finds its tasks, from the root and from every folder below it."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "ansible-free-deploy")]

from tasks import ns  # noqa: E402

__all__ = ["ns"]
