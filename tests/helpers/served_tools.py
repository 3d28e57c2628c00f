"""Stand-ins for tools/: what a program starts there runs in a process forked from one that has mmseg imported."""
import multiprocessing
import os
import time
from contextlib import contextmanager
from multiprocessing.connection import Listener

from forked_tool import become_tool, start

_CLIENT = """import os, sys
from multiprocessing.connection import Client
from pathlib import Path
with Client({address!r}) as server:
    log = Path({folder!r}, f"{{os.getpid()}}.txt")
    server.send((os.getcwd(), str(log), sys.argv[1:], Path(sys.argv[0]).stem))
    status = server.recv()
sys.stdout.write(log.read_text())
sys.exit(status)
"""


@contextmanager
def served_tools(folder, *names):
    """Write `folder/tools/NAME.py`, and run for each that is started the tool of this name, as long as this lasts."""
    address = folder / "socket"
    (folder / "tools").mkdir()
    for name in names:
        (folder / f"tools/{name}.py").write_text(_CLIENT.format(address=str(address), folder=str(folder)))
    server = start(_serve, str(address))
    try:
        while not address.exists():
            assert server.is_alive()
            time.sleep(0.02)
        yield
    finally:
        server.terminate()
        server.join()


def _serve(address):
    with Listener(address) as listener:
        import mmseg.models  # noqa: F401, 4 s, which each transfer would take

        while True:
            with listener.accept() as client:
                process = multiprocessing.get_context("fork").Process(target=_run, args=client.recv())
                process.start()
                process.join()
                client.send(process.exitcode)


def _run(folder, log, arguments, tool):
    os.chdir(folder)
    become_tool(log, arguments, {}, tool)
