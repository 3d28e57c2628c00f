"""Look at a report as its readers do: python tests/helpers/screenshots.py REPORT.html FOLDER

Writes `desktop.png` (1280 pixels wide), `phone.png` (390), `dark.png` and `print.pdf` with Chromium, and ends with
status 1 where the browser's console has a message.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_HEIGHT = 3200
# Chromium's window is never narrower than 500 pixels: the phone is a frame within one.
_PHONE = '<body style="margin:0"><iframe src="{}" style="width:390px;height:{}px;border:0"></iframe>'
_MESSAGE = re.compile(r":CONSOLE[:(].*")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("report")
    parser.add_argument("folder")
    args = parser.parse_args()
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("error: no chromium on PATH; install it (Debian: apt-get install chromium)")
    report, out = Path(args.report).resolve().as_uri(), Path(args.folder).resolve()
    out.mkdir(parents=True, exist_ok=True)
    messages = []
    with tempfile.TemporaryDirectory() as scratch:
        phone = Path(scratch, "phone.html")
        phone.write_text(_PHONE.format(report, _HEIGHT), encoding="utf-8")
        for page, options in (
            (report, [f"--window-size=1280,{_HEIGHT}", f"--screenshot={out / 'desktop.png'}"]),
            (phone.as_uri(), [f"--window-size=500,{_HEIGHT}", f"--screenshot={out / 'phone.png'}"]),
            (report, ["--blink-settings=preferredColorScheme=0", f"--window-size=1280,{_HEIGHT}",
                      f"--screenshot={out / 'dark.png'}"]),
            (report, ["--no-pdf-header-footer", f"--print-to-pdf={out / 'print.pdf'}"]),
        ):
            command = [browser, "--headless=new", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
                       f"--user-data-dir={scratch}/profile", *options, page]
            if os.geteuid() == 0:
                command.insert(1, "--no-sandbox")  # it does not start as root otherwise
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=120, check=True)
            messages += _MESSAGE.findall(done.stderr)
    print("\n".join(messages) or f"{out}: 3 images and a PDF, no message in the console")
    sys.exit(bool(messages))


if __name__ == "__main__":
    main()
