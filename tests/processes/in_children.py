"""What children of tests run, apart from the tests: importing those would take longer than all that they do."""

import logging
import os
import signal

from openhsi_shared.processes.liveness import GONE
from openhsi_shared.processes.logs import forward_logs
from openhsi_shared.processes.supervision import GuardedThread

TIMEOUT_S = 60.0

# ---- in a pool ----


def square_or_die(number: int) -> tuple[int, int]:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number, os.getpid()


def hang(number: int) -> int:
    signal.pause()
    return number


def mixed(number: int) -> int:
    return hang(number) if number else number


def nothing(item: None) -> None:
    return item


# ---- children, which get their end of the pipe ----


def echo(parent):
    while (message := parent.receive()) is not GONE:
        if message is not None:
            parent.tell(message)


def say_and_exit(parent, messages, code=0):
    for message in messages:
        parent.tell(message)
    os._exit(code)


def log_and_say(parent):
    forward_logs(parent)
    logging.getLogger("openhsi_shared.somewhere").warning("too %s", "warm")
    logging.getLogger("openhsi_shared.somewhere").debug("a detail")
    parent.tell("said")
    parent.receive(TIMEOUT_S)


def fail(parent, text, waits=False):
    while waits and parent.receive() is not GONE:
        continue
    raise ZeroDivisionError(text)


def fail_in_a_thread(parent):
    forward_logs(parent)

    def raise_it():
        raise ZeroDivisionError("of a thread")

    thread = GuardedThread(raise_it, name="of the test", failure="nothing is done")
    thread.start()
    thread.join(TIMEOUT_S)
    parent.tell("failed")
    parent.receive(TIMEOUT_S)


def fork_and_exit(parent):
    grandchild = os.fork()
    if not grandchild:
        signal.pause()
    parent.tell(grandchild)
    os._exit(7)


def ignore_all(parent):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    parent.tell("up")
    while True:
        signal.pause()
