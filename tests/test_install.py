"""The package after README's `pip install -e .`, in a fresh environment: the command runs from every directory."""
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
DIRECTORIES = {"the folder that holds the clone": "home", "the clone": "home/ls_jax",
               "the package": "home/ls_jax/ls_jax",
               "a part of the package": "home/ls_jax/ls_jax/studies", "the tests": "home/ls_jax/tests",
               "an empty folder": "empty",
               "the root": "/"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(where all is, bin/ of an environment that has this repository, cloned as `ls_jax`, and the packages of this
    environment)."""
    pytest.importorskip("setuptools", minversion="70.1", reason="installs the package with setuptools: pip install -e "
                                                                "'.[test]'")
    place = tmp_path_factory.mktemp("install")
    clone = place / "home" / "ls_jax"
    for name in ("ls_jax", "tests"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, clone / name)
    # beside the clone, its config/ would be taken for the module ls_jax.config
    for folder in (clone / "config", place / "empty"):
        folder.mkdir()
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place / "venv"], check=True)
    programs = place / "venv" / "bin"
    own = pathlib.Path(run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))",
                           cwd=place).stdout.strip())
    paths = dict.fromkeys([sysconfig.get_path("purelib"), *(path for path in sys.path if path.endswith("-packages"))])
    # whose own .pth files are not followed
    (own / "packages_of_the_tests.pth").write_text("".join(f"{path}\n" for path in paths))
    done = run(programs / "python", "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", clone,
               cwd=place)
    assert done.returncode == 0, done.stderr
    return place, programs


def run(*command, cwd):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True,
                          timeout=120)


@pytest.mark.parametrize("directory", DIRECTORIES.values(), ids=DIRECTORIES)
def test_runs_from_every_directory(installed, directory):
    place, programs = installed
    where, package = place / directory, place / "home" / "ls_jax" / "ls_jax"
    found = run(programs / "python", "-c", "import ls_jax.config; print(ls_jax.__file__)", cwd=where)
    assert found.stdout.split()[:1] == [str(package / "__init__.py")], found.stderr
    for command in (["ls_jax"], ["python", "-m", "ls_jax"], ["python", "-m", "ls_jax.main"]):
        ended = run(programs / command[0], *command[1:], cwd=where)
        assert ended.returncode == 2 and ended.stderr.startswith("ls_jax: --workdir=DIR is missing"), ended.stderr


def test_each_way_to_start_it_has_the_same_help(installed):
    place, programs = installed
    texts = [run(programs / command[0], *command[1:], "--help", cwd=place).stdout
             for command in (["ls_jax"], ["python", "-m", "ls_jax.main"])]
    for text in texts:
        assert "The modes, with an example each:" in text and "--workdir: " in text and "--mode: " in text


def test_a_wheel_holds_every_file_of_the_package(installed):
    place, programs = installed
    clone = place / "home" / "ls_jax"
    options = ("-q", "--no-deps", "--no-build-isolation", "-w", place / "wheels")
    done = run(programs / "python", "-m", "pip", "wheel", *options, clone, cwd=place)
    assert done.returncode == 0, done.stderr
    wheel, = (place / "wheels").glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())
    files = {str(path.relative_to(clone)) for path in (clone / "ls_jax").rglob("*")
             if path.is_file() and "__pycache__" not in path.parts}
    assert files - names == set() and "ls_jax/report/templates/page.html" in files
