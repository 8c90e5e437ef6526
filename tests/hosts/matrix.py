"""Runs the tests on several ComfyUI versions and prints one table; `make matrix` calls it.

COMFYUI_DIRS: the checkouts, separated by spaces; without it every checkout in ~/comfy. Each is run
by its own .venv/bin/python, or by COMFYUI_PYTHON. Exits 1 when a test fails or a version that we
promise is missing.
"""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROMISED = ("0.3.64", "0.8.0", "0.18.1")
ALSO = ("test_published_workflow.py", "test_verify.py")
Counts = dict[str, Counter]


def version_of(folder: Path) -> str:
    text = (folder / "comfyui_version.py").read_text(encoding="utf-8")
    return text.split('"')[1]


def checkouts() -> dict[str, Path]:
    """ComfyUI's folders by version, oldest first. Exits 1 for a folder that is none."""
    given = os.environ.get("COMFYUI_DIRS", "").split()
    folders = [Path(name).expanduser() for name in given]
    folders = folders or sorted(Path("~/comfy").expanduser().glob("*/comfyui_version.py"))
    folders = [path.parent if path.is_file() else path for path in folders]
    for folder in folders:
        if not (folder / "comfyui_version.py").is_file():
            sys.exit(f"{folder}: expected a checkout of ComfyUI, with comfyui_version.py in it.")
    found = {version_of(folder): folder for folder in folders}
    return dict(sorted(found.items(), key=lambda item: [int(n) for n in item[0].split(".")]))


def run(version: str, folder: Path) -> tuple[Counts, list[str]]:
    """Outcomes by test group, and what to say about tests that failed or were skipped."""
    report = ROOT / "out" / "matrix" / f"{version}.xml"
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    here = ROOT / "tests" / "hosts"
    tests = [*sorted(here.glob("test_comfy_*.py")), *(here / name for name in ALSO)]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "", f"--junitxml={report}", *tests]
    print(f"ComfyUI {version} in {folder}", flush=True)
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "COMFYUI_DIR": str(folder)})
    counts: Counts = defaultdict(Counter)
    if not report.is_file():
        counts["pytest"]["failed"] += 1
        return counts, [f"{version}: pytest ended with {done.returncode} before any test ran"]
    said = []
    for case in ET.parse(report).iter("testcase"):
        group = (
            case.get("classname").rsplit(".", 1)[-1].removeprefix("test_").removeprefix("comfy_")
        )
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "passed"
        outcome = "skipped" if "skipped" in kinds else outcome
        counts[group][outcome] += 1
        if outcome != "passed":
            why = next(child.get("message") for child in case if child.get("message"))
            said.append(f"{version} {outcome}: {group}: {case.get('name')}: {why.splitlines()[0]}")
    return counts, said


def table(results: dict[str, Counts]) -> str:
    """Versions as rows, groups as columns: passed, and where there are any /failed/skipped."""
    groups = sorted({group for counts in results.values() for group in counts})
    rows = [["ComfyUI", *groups]]
    for version, counts in results.items():
        cells = [counts.get(group, Counter()) for group in groups]
        rows.append([version, *(f"{c['passed']}/{c['failed']}/{c['skipped']}" for c in cells)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*lines, "(passed/failed/skipped)"])


def main() -> int:
    found = checkouts()
    results, said = {}, []
    for version, folder in found.items():
        results[version], remarks = run(version, folder)
        said += remarks
    if results:
        print("\n" + table(results))
    print(*said, sep="\n")
    missing = [version for version in PROMISED if version not in found]
    if missing and not os.environ.get("COMFYUI_DIRS"):
        print(
            f"Missing: ComfyUI {', '.join(missing)}. CONTRIBUTING.md says how to get them; name "
            'others with COMFYUI_DIRS="FOLDER FOLDER".'
        )
        return 1
    failed = sum(group["failed"] for counts in results.values() for group in counts.values())
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
