"""What pip installs is the whole pack, with its data and without its tests."""

import shutil
import subprocess
import sys
import zipfile

import pytest

DATA = ("weights/", "workflows/", "web/", "locales/", "LICENSE")


@pytest.mark.slow
def test_the_wheel_holds_every_module_and_all_data(root, tracked, tmp_path):
    pytest.importorskip("setuptools", minversion="77")
    source = tmp_path / "source"
    for name in tracked:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", tmp_path, source], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("mannequin-*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mannequin/")}
    modules = {name for name in tracked if name.endswith(".py") and not name.startswith("tests/")}
    data = {name for name in tracked if name.startswith(DATA)}
    assert held == {f"mannequin/{name}" for name in modules | data}
