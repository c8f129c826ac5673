"""A systemd unit that records by a `flight.toml`, with the promises of `docs/reliability.md`."""

import getpass
import pwd
import sys
from pathlib import Path

from openhsi_shared.errors import ArgumentError
from openhsi_shared.flight.config import read_config
from openhsi_shared.paths import given_path

__all__ = ["unit_of"]

UNIT = """\
# Written by `openhsi-shared service --config {config}`
[Unit]
Description=Hyperspectral recording by {config}
RequiresMountsFor={mounts}
# tried for ever, every 5 s
StartLimitIntervalSec=0
After=time-sync.target gpsd.service chrony.service

[Service]
Type=exec
User={user}
WorkingDirectory={folder}
ExecStart={command}
# only the main process gets the signal, and has the time to save all cubes
KillMode=mixed
KillSignal=SIGINT
TimeoutStopSec=120
# a writer that the kernel kills for its memory is replaced: the others go on
OOMPolicy=continue
# a flight that ends by itself is not started again, one whose camera is lost is
Restart=on-failure
RestartSec=5
# Ctrl-C, and `systemctl stop`
SuccessExitStatus=130
# slots are locked in memory; the thread that captures goes before ordinary programs
LimitMEMLOCK=infinity
LimitRTPRIO=10
LimitNICE=-10
LimitNOFILE=65536
# the control socket is where commands of this user look for it, and the last resort in /var/lib/openhsi_shared
Environment=XDG_RUNTIME_DIR=/run/user/{uid} XDG_STATE_HOME=%S
StateDirectory=openhsi_shared

[Install]
WantedBy=multi-user.target
"""


def unit_of(config: str | Path, user: str | None = None) -> str:
    """The text of a unit that runs `record --config` with this Python, as `user` (None: the present one).

    The file is read first: what `read_config` raises. ArgumentError for a path that a unit cannot name.
    """
    path = given_path(config).absolute()
    read = read_config(path)
    out = given_path(read.record.get("out", "flight"))
    folder = path.parent
    directories = [folder, folder / out, *(folder / given_path(one) for one in read.record.get("fallback", ()))]
    for one in (path, *directories, Path(sys.executable)):
        if any(char in str(one) for char in '\n\r"\\'):
            raise ArgumentError(f"{str(one)!r} cannot be named in a unit: use a path without quotes and line breaks")
    user = user or getpass.getuser()
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise ArgumentError(f"this machine has no user {user!r}") from error
    return UNIT.format(
        uid=uid,
        config=_plain(path),
        mounts=" ".join(f'"{_plain(one)}"' for one in directories),
        user=_plain(user),
        folder=_plain(folder),
        command=" ".join(map(_argument, (sys.executable, "-m", "openhsi_shared", "record", "--config", str(path)))),
    )


def _plain(text: object) -> str:
    return str(text).replace("%", "%%")


def _argument(text: str) -> str:
    """An argument of ExecStart, in which `$` is a variable."""
    return f'"{_plain(text).replace("$", "$$")}"'
