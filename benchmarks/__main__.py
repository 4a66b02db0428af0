"""``make bench``: every part, or one of them by name."""

from __future__ import annotations

import subprocess
import sys

#: Name and module, in the order of a whole run.
PARTS = {
    "preview": "bench",
    "checks": "checks",
    "policy": "rules",
    "deploy": "deploy",
    "cold": "cold",
    "costs": "costs",
    "rightsizing": "rightsizing",
    "scanners": "scanners",
}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if unknown := [name for name in wanted if name not in PARTS]:
        sys.exit(f"error: ONLY: found {unknown[0]!r}; allowed: {', '.join(PARTS)}")
    for name in wanted:
        # A process each: what one has imported and cached must not be the next one's.
        subprocess.run([sys.executable, "-m", f"benchmarks.{PARTS[name]}"], check=True)


if __name__ == "__main__":
    main()
