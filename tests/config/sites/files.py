"""Files of profiles, as a site has them, and what a command line is told about them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from omegaconf import OmegaConf

import spectramind_config as sc

from ..engine import VARIABLE

PROFILE = """\
from dataclasses import dataclass

import spectramind_config as sc
from spectramind_config.settings import Devices


@sc.profile("local", "{name}")
@dataclass(kw_only=True)
class Site(sc.LocalConfig):
    \"\"\"{name} of a lab.\"\"\"

    devices: Devices = {devices}
"""

OVERLAY = """\
defaults: [hpc, _self_]
name: workstation
devices: 2
num_workers: {train: 6}
max_epochs: ${oc.decode:${oc.env:SITE_EPOCHS,30}}

paths:
  run_manifest: ${paths.output_dir}/m.json  # As old files write it, from their own top.
"""


def write(file: Path, name: str, devices: object = 2) -> Path:
    """A file of one profile."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(PROFILE.format(name=name, devices=devices))
    return file


def overlay(folder: Path, text: str = OVERLAY, name: str = "workstation", group: str = "local") -> Path:
    """An overlay in a config directory."""
    file = folder / group / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def refusal(*overrides: str) -> str:
    """What a command line is told."""
    with pytest.raises(sc.ConfigError) as caught:
        sc.compose(overrides)
    return flat(str(caught.value))


def flat(text: str) -> str:
    """A message on one line."""
    return " ".join(text.split())


def use(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Set the variable."""
    monkeypatch.setenv(VARIABLE, os.pathsep.join(map(str, paths)))


def hydras(*overrides: str) -> object:
    """What Hydra itself composes."""
    with initialize(version_base="1.3", config_path=None):
        return OmegaConf.to_container(hydra_compose("train", list(overrides)), resolve=True)
