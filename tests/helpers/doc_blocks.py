"""The code blocks of README, CONTRIBUTING and docs, and the commands in them."""
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_NO_COMMAND = re.compile(r"""for .*; do|done|\w+=("[^"]*"|\S*)""")
_BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)


def blocks(page, *languages):
    """Yield the blocks of a page in these languages."""
    return (text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages)


def lines(page, *languages):
    """Yield the lines of the blocks of a page in these languages; one that is continued is one line."""
    return (line for text in blocks(page, *languages) for line in text.replace("\\\n", " ").splitlines())


def commands(page):
    """Yield the commands of the blocks for a shell, each in one line, without comments, loops and assignments."""
    for line in lines(page, "bash", "sh", "console"):
        command = " ".join(re.split(r"(?:^|\s)#", line, maxsplit=1)[0].split())
        if command and not _NO_COMMAND.fullmatch(command):
            yield command
