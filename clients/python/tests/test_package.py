"""The package as it would be published, and its readme."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import keyward

HERE = Path(__file__).resolve().parents[1]
BLOCKS = re.findall(r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)


def test_the_wheel_has_the_types_the_licence_and_no_dependency(tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("*.egg-info", "build", "dist", "__pycache__"))
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        tmp_path,
        source,
    ]
    subprocess.run(command, check=True, timeout=120)
    with zipfile.ZipFile(next(tmp_path.glob("keyward-*.whl"))) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("METADATA"))).decode()
    assert {"keyward/py.typed", "keyward/asgi.py", "keyward/litellm.py"} <= set(names)
    assert any(name.endswith("LICENSE") for name in names)
    assert f"Version: {keyward.__version__}\n" in metadata
    assert [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line] == []


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_examples_of_the_readme_name_what_there_is(block: str) -> None:
    compile(block, "README.md", "exec")
    for line in block.splitlines():
        if line.startswith(("from keyward", "import keyward")):
            exec(line, {})
