"""The command ``spectramind plan``."""

from __future__ import annotations

import dataclasses
import sys
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from spectramind_config import ConfigError, EffectiveConfig, Problem, compose
from spectramind_config.commands.command import JSON, Parser, add, out, out_json
from spectramind_config.errors import write
from spectramind_config.host import Host

if TYPE_CHECKING:
    from spectramind_train.planning.estimate import Measured


def arguments(parser: Parser) -> None:
    """What the command takes."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="GROUP=PROFILE, or SETTING=VALUE")
    about = "a machine that is not here: 8xA100, t4x2, mac, laptop, or a file of --save-host"
    parser.add_argument("--host", metavar="HOST", help=about)
    parser.add_argument("--save-host", type=Path, metavar="FILE", help="write this host, or that of --host, to a file")
    parser.add_argument("--planets", type=int, metavar="N", help="labelled planets of a data set that is not here")
    parser.add_argument("--probe", action="store_true", help="train a few steps on made-up planets here, and measure")
    about = "find the largest data.batch_size: by trial on a GPU, by what is left now on a CPU"
    parser.add_argument("--probe-batch-size", action="store_true", help=about)
    parser.add_argument(
        "--sbatch", action="store_true", help="write the batch script of a SLURM job that trains with it"
    )
    add(parser, JSON)


def run(options: Namespace, _: type[EffectiveConfig]) -> int:
    """Plan a run, and predict what it takes; starts nothing but a probe that is asked for.

    Raises:
        ConfigError: The host cannot run the config, or nothing of that size.
    """
    from spectramind_train.planning import report
    from spectramind_train.planning.estimate import estimate
    from spectramind_train.planning.memory import require_fit
    from spectramind_train.run.accelerators import foreseen
    from spectramind_train.run.hosts import host_of, save_host
    from spectramind_train.run.plan import plan
    from spectramind_train.run.slurm import Job

    if (options.probe or options.probe_batch_size) and options.host:
        what = "a probe measures this machine, and --host names another"
        raise ConfigError(Problem(what=what, hint="leave one of them out"))
    if options.planets is not None and options.planets < 3:
        raise ConfigError(Problem(what=f"--planets {options.planets}: a split takes at least 3"))
    if options.sbatch:
        job = Job.of(compose(options.overrides), host_of(options.host) if options.host else None)
        out(job.script(options.overrides).rstrip("\n"))
        return 0
    host = host_of(options.host) if options.host else Host.detect()
    if options.save_host:
        save_host(host, options.save_host)
    config = compose(options.overrides)
    measured: Measured | None = None
    most: int | None = None
    if options.probe or options.probe_batch_size:
        from spectramind_train.planning.probe import Probe

        probe = Probe(config, options.planets, lambda line: write(f"warning: {line}", sys.stderr))
        host, run_plan = probe.host, probe.plan
        measured = probe.measured() if options.probe else None
        most = probe.largest_batch() if options.probe_batch_size else None
    else:
        host = host if options.host else foreseen(host)
        run_plan = plan(config, host)
        require_fit(config, run_plan, host, options.planets)
    found = estimate(config, run_plan, host, planets=options.planets, here=not options.host, measured=measured)
    if found is not None and most is not None:
        found = dataclasses.replace(found, largest_batch=most)
    if options.json:
        out_json(report.as_json(host, run_plan, found))
    else:
        out(*report.lines(host, run_plan, found))
    return 0
