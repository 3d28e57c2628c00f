"""How a tool ends: a mistake of the user in one line, a signal in one line, a bug with its traceback."""
from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from typing import NoReturn

from mimtransfer import interruption
from mimtransfer.cli.command import as_typed
from mimtransfer.cli.explain import explain

_NOT_THE_USERS = (  # starts of warnings
    "pkg_resources is deprecated",  # mmengine imports it, once for each base config
    "``build_loss`` would be deprecated",  # mmseg's heads call it
    "Default ``avg_non_ignore`` is False",  # mmseg's published recipes have this default
    "Warning: The (bbox|polygon) is out of bounds",  # mmengine's, of one that touches the edge of the picture
)


@contextlib.contextmanager
def clean_exit() -> Iterator[None]:
    """Turn an error that the user can fix into one line `error: ...` on stderr and exit status 2.

    These are `UserError` and what mmengine raises for mistakes in a config (`explain`). Any other error
    is a bug and keeps its traceback. With MIMTRANSFER_TRACEBACK=1 in the environment every error keeps it.

    SIGTERM, SIGHUP and Ctrl-C end in one line that names the last checkpoint, and in exit status 128 + number. What
    nobody who runs a tool can change is hidden (`_NOT_THE_USERS`).
    """
    for message in _NOT_THE_USERS:
        warnings.filterwarnings("ignore", message=message, category=UserWarning)
    with interruption.signals_raise(), _quiet_logging():
        try:
            yield
        except (KeyboardInterrupt, interruption.Interrupted) as stopped:
            _end(getattr(stopped, "number", signal.SIGINT))
        except Exception as error:
            interruption.finish()
            number = interruption.behind(error)
            if number is not None:
                _end(number)
            if os.environ.get("MIMTRANSFER_TRACEBACK", "0") not in ("", "0"):
                raise
            line = explain(error)
            if line is None:
                raise
            print(f"error: {as_typed(line)}", file=sys.stderr, flush=True)
            raise SystemExit(2) from None


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Let a log that cannot be written, on a full disk, print no traceback at each line: the next save tells it."""
    before, logging.raiseExceptions = logging.raiseExceptions, False
    try:
        yield
    finally:
        logging.raiseExceptions = before


def _end(number: int) -> NoReturn:
    interruption.finish()
    if os.environ.get("RANK", "0") == "0":  # one line for all processes of a run
        print(interruption.tell(number), file=sys.stderr, flush=True)
    interruption.end_children()
    distributed = sys.modules.get("torch.distributed")
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        sys.stdout.flush()
        os._exit(128 + number)  # the other processes are in the middle of a collective: leaving politely would hang
    raise SystemExit(128 + number) from None
