"""The project that the pack belongs to: its catalog has the cost centers, its stacks the budgets."""

from __future__ import annotations

import os
from pathlib import Path

#: The folder above the pack's; a pack in another project, which has the rules installed, says its own.
ROOT = Path(os.environ.get("CLOUDMART_PROJECT") or Path(__file__).resolve().parents[2])
