"""Try the oldest and the newest supported versions, and the maintained forks, under each Python that is here.

    python tests/helpers/try_versions.py [--python 3.10 3.12] [--sets oldest newest forks] [--keep DIR]

Each set gets an environment of its own (3 to 5 GB with the CUDA build of torch, removed afterwards) with the wheel of
this checkout, and goes from made data over a pretraining and a detector to a table, two steps each. Prints a table.
The oldest set: for each `name>=X` of setup.cfg the newest patch of X; where X has no wheel for a Python, the oldest
that has one is not searched: the bound is dropped, and the table shows what was installed.
"""
import argparse
import configparser
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from wheel_smoke import ENV, ROOT, build_wheel, run, train_from_nothing

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
SETS = ("oldest", "newest", "forks")
REPLACED = ("mmengine", "mmdet", "mmsegmentation")  # by the forks; mmcv-lite is installed without what it asks for
FORKS = ("onedl-mmengine", "onedl-mmdetection", "onedl-mmsegmentation")
SHOWN = ("torch", "torchvision", "timm", "numpy", "mmengine", "mmcv-lite", "mmdet", "mmsegmentation", "setuptools")
BINARY = "torch,torchvision,numpy,scipy,pandas,pillow,scikit-learn,matplotlib,pycocotools,simplejpeg,shapely"


def requirements():
    """Return what setup.cfg asks for, with the extra `lite`."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    lines = f"{config['options']['install_requires']}\n{config['options.extras_require']['lite']}".splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def interpreter(version):
    """Return a Python of this version that answers: on the path, or one of pyenv's."""
    places = [shutil.which(f"python{version}"), *sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    if shutil.which("uv"):
        found = subprocess.run(["uv", "python", "find", version], capture_output=True, text=True)
        places.append(found.stdout.strip() if found.returncode == 0 else None)
    for place in filter(None, places):
        code = "import sys; print('%d.%d' % sys.version_info[:2])"
        answer = subprocess.run([str(place), "-c", code], capture_output=True, text=True)
        if answer.returncode == 0 and answer.stdout.strip() == version:
            return str(place)
    return None


def oldest(lines):
    """Return `name==X.*` for each `name>=X`; setuptools stays free, since the builds of others need a newer one."""
    bounds = [re.match(r"([\w-]+)>=([\d.]+)", line) for line in lines]
    return [f"{found[1]}=={found[2]}.*" for found in bounds if found and found[1] != "setuptools"]


def install(python, wheel, kind, cwd):
    """Install a set and the wheel. Bounds of the oldest set that no wheel meets are dropped, one by one."""
    pip = [python, "-m", "pip", "install", "-q", "--only-binary", BINARY]
    lines = requirements()
    if kind == "forks":
        lines = [line for line in lines if not re.match("|".join((*REPLACED, "mmcv-lite")), line)]
        run(*pip, *lines, *FORKS, cwd=cwd)
        run(*pip, "--no-deps", "mmcv-lite>=2.1,<2.2", cwd=cwd)
    bounds = oldest(lines) if kind == "oldest" else []
    while kind != "forks":
        constraints = cwd / "constraints.txt"
        constraints.write_text("\n".join(bounds))
        done = subprocess.run([*map(str, pip), "-c", str(constraints), *lines], cwd=cwd, env=ENV, capture_output=True,
                              text=True)  # fmt: skip
        if done.returncode == 0:
            break
        # Newer versions of pip say no more than "Cannot install NAME>=... because ... conflicting dependencies".
        named = " ".join(re.findall(r"Cannot install (.*?) because", done.stderr))
        refused = [bound for bound in bounds if f"for {bound.partition('==')[0]}" in done.stderr
                   or f"The user requested (constraint) {bound}" in done.stderr
                   or re.search(rf"(?<![\w-]){bound.partition('==')[0]}(?![\w-])", named)]
        assert refused, done.stderr[-1500:]
        if any(bound.startswith("torch==") for bound in refused):  # each torchvision is for one torch
            refused += [bound for bound in bounds if bound.startswith("torchvision==")]
        bounds = [bound for bound in bounds if bound not in refused]
    run(*pip, "--no-deps", wheel, cwd=cwd)


def versions(python, cwd):
    code = "import json, sys; from importlib.metadata import distributions as d; " \
           "print(json.dumps({one.name.lower(): one.version for one in d()}))"
    found = json.loads(run(python, "-c", code, cwd=cwd))
    forks = dict(zip(REPLACED, FORKS))
    return {name: found.get(name) or f"{forks.get(name)} {found.get(forks.get(name, ''), '-')}" for name in SHOWN}


def attempt(command, wheel, kind, folder):
    """Return the versions of a set (None where it cannot be installed), and how its smoke run ended."""
    found = None
    try:
        run(command, "-m", "venv", folder / "env", cwd=folder)
        python = folder / "env/bin/python"
        install(python, wheel, kind, folder)
        found = versions(python, folder)
        (folder / "work").mkdir()

        def call(*words):
            return run(folder / "env/bin/mimtransfer", *words, cwd=folder / "work")

        train_from_nothing(call, folder / "work")
        assert "box AP" in call("table", "work_dirs")
    except AssertionError as failed:
        lines = str(failed).strip().splitlines() or ["no output"]
        return found, next((line for line in lines if "error:" in line.lower()), lines[-1])[:160]
    return found, "works"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="folder for the environments, which then stay")
    args = parser.parse_args()
    print(f"| Python | set | {' | '.join(SHOWN)} | result |\n|{' --- |' * (len(SHOWN) + 3)}", flush=True)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "source").mkdir()
        wheel = build_wheel(place / "source", place)
        for version in args.python:
            command = interpreter(version)
            if command is None:
                print(f"| {version} |{' |' * (len(SHOWN) + 1)} no such interpreter here |", flush=True)
                continue
            for kind in args.sets:
                own = (args.keep or place) / f"{version}-{kind}"
                own.mkdir(parents=True)
                found, result = attempt(command, wheel, kind, own)
                failed += result != "works"
                row = [version, kind, *(found[name] if found else "-" for name in SHOWN), result]
                print(f"| {' | '.join(row)} |", flush=True)
                if args.keep is None:
                    shutil.rmtree(own)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
