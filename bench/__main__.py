"""``python -m bench``: measure, print, and say which targets are met. Takes two to four minutes; ``--quick`` less than one.

Everything runs on 127.0.0.1, and on a machine that does something else besides, the ratios suffer: look twice.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable

import click
import cryptography
import zmq

from bench import envelopes, files, idle, mail, relay, roster, roundtrip, startup
from bench.people import People
from bench.report import Report

_IDLE = 0.5
SECTIONS = ("relay", "envelopes", "startup", "roundtrip", "roster", "mail", "idle", "files")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Fewer repeats: less than a minute, and less to be relied on.")
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, help="Measure only this; may be given several times.")
def main(quick: bool, only: tuple[str, ...]) -> None:
    """Measure how fast SecureChat is on this machine, beside what it could not be faster than."""
    began = time.perf_counter()
    report, people = Report(), People()
    sections: dict[str, Callable[[], None]] = {
        "relay": lambda: relay.run(report, people, 2 if quick else 7),
        "envelopes": lambda: envelopes.run(report, 4 if quick else 20),
        "startup": lambda: startup.run(report, 9 if quick else 31),
        "roundtrip": lambda: roundtrip.run(report, 30 if quick else 200),
        "roster": lambda: roster.run(report, people, (125, 250) if quick else (125, 250, 500)),
        "mail": lambda: mail.run(report, people, 2 if quick else 7, 10_000 if quick else 100_000),
        "idle": lambda: idle.run(report, 250 if quick else 2000),
        "files": lambda: files.run(report, (64 if quick else 1024) << 20),
    }
    print(
        f"{os.cpu_count()} cores, Python {platform.python_version()}, libzmq {zmq.zmq_version()}, pyzmq {zmq.pyzmq_version()}, "
        f"cryptography {cryptography.__version__}; medians of interleaved repeats"
    )
    if (load := os.getloadavg()[0]) > _IDLE:
        print(f"The load average is {load:.1f}: if something else still runs here, the ratios of 'relay' suffer; look twice.")
    for name in only or SECTIONS:
        sections[name]()
    report.summary()
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
