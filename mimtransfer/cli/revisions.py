"""The code of other revisions beside the working tree, for the tools that compare them."""
import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mimtransfer.errors import UserError


@contextlib.contextmanager
def checked_out(names: list[str], folder: Path) -> Iterator[tuple[list[Path], Path]]:
    """Give folders with the code of revisions of the repository we are in; those made for it go at the end.

    Args:
        names: commits, branches or tags; `.` is the working tree itself.
        folder: an existing one for temporary worktrees.

    Yields:
        The folders, one of each name, and the top of the repository.

    Raises:
        UserError: we are in no repository, or it has no such revision.
    """
    found = subprocess.run(["git", "rev-parse", "--show-toplevel"], capture_output=True, text=True)
    if found.returncode:
        raise UserError(f"{os.getcwd()} is in no git repository; call the tool in that of the revisions")
    top = Path(found.stdout.strip())
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(_worktree(name, top, folder / f"code{i}")) for i, name in enumerate(names)], top


@contextlib.contextmanager
def _worktree(revision: str, top: Path, folder: Path) -> Iterator[Path]:
    if revision == ".":
        yield top
        return
    git = ["git", "-C", str(top)]
    commit = subprocess.run([*git, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"],
                            capture_output=True, text=True).stdout.strip()  # fmt: skip
    if not commit:
        raise UserError(f"revision {revision!r}: {top} has no such commit; give a commit, a branch, a tag or .")
    try:
        subprocess.run([*git, "worktree", "add", "--quiet", "--detach", str(folder), commit], check=True)
        yield folder
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(folder)], stderr=subprocess.DEVNULL)
        subprocess.run([*git, "worktree", "prune"])


def configs_in(trees: list[Path], names: list[str], configs: list[str], top: Path) -> list[Path]:
    """Return config paths relative to the top of the repository.

    Raises:
        UserError: a revision has no such file.
    """
    relative = [Path(os.path.relpath(os.path.realpath(config), top)) for config in configs]
    for config in relative:
        for name, tree in zip(names, trees):
            if not (tree / config).is_file():
                raise UserError(f"config {config}: not in revision {name!r}")
    return relative
