"""Entry point of the pack under the Pulumi engine: serves the rules until the engine is done."""

import sys
from pathlib import Path

from pulumi_policy import PolicyPack

# The engine starts the pack in its own folder; the rules read the catalog with the project's own reader.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from rules import POLICIES  # type: ignore[import-not-found]

PolicyPack("cloudmart", POLICIES)
