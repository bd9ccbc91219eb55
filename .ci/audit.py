"""Checks every pinned package for known vulnerabilities: exits 0 if none is known, 1 with a line for each that is. If
the advisories are not available, it says so and exits 0, since there is no up-to-date offline copy; pip-audit alone
would say that nothing was found. The advisories do not cover the embedded Kafka's jars.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
COMMAND = ("pip_audit", "--requirement", "requirements-dev.lock", "--require-hashes", "--disable-pip")


def verdict(dependencies: Sequence[Mapping[str, Any]]) -> tuple[int, list[str]]:
    """The exit code for pip-audit's answer, and what to print."""
    missed = [each["name"] for each in dependencies if "skip_reason" in each]
    if len(missed) == len(dependencies):
        return 0, ["audit skipped: no advisories are available here; run it where they can be reached"]
    found = [
        f"{each['name']} {each['version']}: {flaw['id']}, fixed in {', '.join(flaw['fix_versions']) or 'no release'}"
        for each in dependencies
        for flaw in each.get("vulns", ())
    ]
    lines = found + [f"{name}: could not be audited" for name in missed]
    return (1, lines) if lines else (0, [f"{len(dependencies)} packages, no known vulnerability"])


def main() -> int:
    """Audit the lock of all packages, including those of the tests."""
    command = [sys.executable, "-m", *COMMAND, "--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    # Without a network there is no document at all.
    document = json.loads(done.stdout) if done.stdout.strip() else {"dependencies": []}
    code, lines = verdict(document["dependencies"])
    print("\n".join(lines), file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    sys.exit(main())
