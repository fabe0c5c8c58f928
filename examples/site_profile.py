"""A site's own profile: a workstation with two RTX 3090.

A profile is a subclass of its group's schema that restates only what differs; everything else keeps the value of
``sc.LocalConfig``. Name this file, and the profile is there:

    spectramind train trainer=multi_gpu local=workstation_3090 --profiles examples/site_profile.py

or once and for all, for every command and every process that they start:

    export SM_PROFILES=$PWD/examples/site_profile.py
    spectramind profiles show local=workstation_3090
    spectramind config explain precision paths trainer=multi_gpu local=workstation_3090
"""

from dataclasses import dataclass, field

import spectramind_config as sc


@sc.profile("local", "workstation_3090")
@dataclass(kw_only=True)
class Workstation(sc.LocalConfig):
    """Two RTX 3090 under the desk."""

    devices: sc.Devices = 2
    precision: sc.Precision | None = "bf16-mixed"
    num_workers: sc.NumWorkers = field(default_factory=lambda: sc.NumWorkers(train=6, val=3, test=3))
    paths: sc.Paths = field(default_factory=lambda: sc.Paths(data_root="${oc.env:SM_DATA_ROOT,/data/ariel}"))
