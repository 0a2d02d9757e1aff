import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import lesionforge

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "lesionforge"
HEAVY = ("torch", "monai", "lightning")
SOURCE_SUFFIXES = {".py", ".typed", ".yaml", ".html", ".j2", ".css", ".md"}
BINARY = re.compile(r"\.(nii|nii\.gz|mgz|dcm|npy|npz|pt|pth|ckpt|safetensors|h5|png|jpe?g|tiff?)$")


def lint_imports(folder):
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", "pyproject.toml"]
    return subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": f"{folder}/src"}, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy_of_package(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "src" / "lesionforge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_imports_point_one_way(copy_of_package):
    result = lint_imports(copy_of_package)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "wrong"),
    [
        ("errors.py", "lesionforge.files"),
        ("cohort/case.py", "lesionforge.preprocessing"),
        ("cohort/scan.py", "torch"),
        ("networks/__init__.py", "lesionforge.training"),
        ("training/__init__.py", "lesionforge.synthesizers"),
        ("scores/__init__.py", "lesionforge.benchmark"),
    ],
)
def test_a_forbidden_import_is_caught(module, wrong, copy_of_package):
    path = copy_of_package / "src" / "lesionforge" / module
    path.write_text(f"{path.read_text()}\nimport {wrong}\n")
    result = lint_imports(copy_of_package)
    assert result.returncode == 1
    assert wrong in result.stdout


@pytest.mark.parametrize(
    "modules",
    [
        "lesionforge.cli",
        "lesionforge.cohort.inspection.checks, lesionforge.cohort.inspection.contact_sheet",
        "lesionforge.simulation.simulated_cohort",
    ],
)
def test_command_line_and_cohorts_start_without_heavy_libraries(modules):
    code = f"import {modules}, sys; print([name for name in {HEAVY} if name in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_help_imports_no_heavy_library():
    code = (
        "import sys; from typer.testing import CliRunner; from lesionforge.cli import app\n"
        "result = CliRunner().invoke(app, ['--help']); assert result.exit_code == 0, result.output\n"
        f"assert 'synthesize' in result.output; print([name for name in {HEAVY} if name in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_version_is_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert str(citation["version"]) == project["version"] == version("lesionforge") == lesionforge.__version__
    assert citation["license"] == project["license"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_dependency_is_pinned_within_its_range():
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {re.sub(r"[-_.]+", "-", name).lower(): pin for name, pin in pins.items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-") for requirement in needed}
    assert names <= set(pins)
    assert pins["torch"] == "2.13.0"


def test_wheel_would_hold_source_only():
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert {path.suffix or path.name for path in files} <= SOURCE_SUFFIXES
    assert max(path.stat().st_size for path in files) < 100_000


def test_repository_holds_no_scan_and_no_weights():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split(
        "\n"
    )
    assert [name for name in listed if BINARY.search(name) and not name.startswith("docs/images/")] == []
