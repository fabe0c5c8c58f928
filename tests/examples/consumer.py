"""A program that uses every part of the public interface, for type checkers to agree with and for Python to run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, assert_type

from omegaconf import OmegaConf

import spectramind_config as sc

if TYPE_CHECKING:
    Cooling = Literal["air", "water"]
else:
    Cooling = sc.one_of("air", "water")


@dataclass(kw_only=True)
class Power(sc.Settings):
    """Where the current comes from."""

    watts: Annotated[int, sc.about("Most that the rack may draw", ge=100, science=False)] = 3000
    cooling: Annotated[Cooling, sc.about("What carries the heat away", science=False)] = "air"


@sc.profile("local", "rack")
@dataclass(kw_only=True)
class Rack(sc.LocalConfig):
    """A rack of the lab."""

    devices: sc.Devices = "auto"
    precision: sc.Precision | None = "32"
    num_workers: sc.NumWorkers = field(default_factory=lambda: sc.NumWorkers(train=2))
    mlflow: sc.MLflow = field(default_factory=lambda: sc.MLflow(enabled=True))
    paths: sc.Paths = field(default_factory=lambda: sc.Paths(data_root="/data"))
    dev: sc.Dev = field(default_factory=lambda: sc.Dev(limit_train_batches=0.5))
    row: Annotated[int, sc.about("Row of the rack", ge=1, science=False)] = 7
    power: Annotated[Power, sc.about("Current and heat")] = field(default_factory=Power)

    def contradictions(self) -> Iterator[sc.Contradiction]:
        """The thirteenth row is empty."""
        yield from super().contradictions()
        if self.row == 13:
            yield sc.Contradiction("row", "row 13 is empty", "12")


@sc.profile("trainer", "overnight")
@dataclass(kw_only=True)
class Overnight(sc.TrainerConfig):
    """Until the morning."""

    strategy: sc.Strategy = "auto"
    max_time: sc.Duration | None = timedelta(hours=10)
    dev: sc.BatchLimits = field(default_factory=lambda: sc.BatchLimits(limit_test_batches=1))
    checkpoint: sc.Checkpoint = field(default_factory=lambda: sc.Checkpoint(save_top_k=1))
    early_stopping: sc.EarlyStopping = field(default_factory=lambda: sc.EarlyStopping(patience=9))
    console: sc.Console = field(default_factory=lambda: sc.Console(refresh="throttled"))


@sc.profile("model", "tiny")
@dataclass(kw_only=True)
class Tiny(sc.V50Config):
    """A small V50."""

    width: int = 8


@sc.profile("data", "short")
@dataclass(kw_only=True)
class Short(sc.NominalData):
    """A small simulated data set."""

    augmentation: sc.Augmentation = field(default_factory=lambda: sc.Augmentation(extra_noise=0.0))
    calibration: sc.Calibration = field(default_factory=lambda: sc.Calibration(adc_gain="multiply"))
    simulation: sc.Simulation = field(default_factory=lambda: sc.Simulation(planets=12))


@sc.profile("loss", "likelihood")
@dataclass(kw_only=True)
class Likelihood(sc.CompositeLoss):
    """The likelihood alone."""

    smoothness: float = 0.0


@sc.profile("logger", "quiet")
@dataclass(kw_only=True)
class Quiet(sc.LoggerConfig):
    """Lines, no bars."""

    style: sc.Style = "plain"


@sc.profile("optimizer", "steady")
@dataclass(kw_only=True)
class Steady(sc.AdamW):
    """A constant rate."""

    schedule: sc.Schedule = "constant"


@sc.experiment("steady_night")
def steady_night() -> list[str]:
    """All night at a constant rate."""
    return ["trainer=overnight", "optimizer=steady"]


@dataclass(kw_only=True)
class Telescope(sc.Profile):
    """The schema of a group of one's own."""

    mirror: Annotated[float, sc.about("Diameter, in metres", gt=0)] = 1.1


@sc.profile("telescope", "ariel")
@dataclass(kw_only=True)
class Ariel(Telescope):
    """ESA's, from 2029."""


@sc.profile("telescope", "jwst")
@dataclass(kw_only=True)
class Jwst(Telescope):
    """The large one."""

    mirror: float = 6.5
    segments: int = 18


@sc.root("survey")
@dataclass(frozen=True, kw_only=True)
class Survey(sc.Config):
    """A root of one's own."""

    targets: Annotated[int, sc.about("Stars to look at", ge=1)] = 100
    telescope: Telescope = sc.group("ariel")
    trainer: sc.TrainerConfig = sc.group("defaults")
    local: sc.LocalConfig = sc.group("default", over="trainer")
    precision: sc.Precision = sc.folded()


@sc.experiment("deep", root=Survey)
def deep() -> list[str]:
    """Few stars, for long."""
    return ["targets=3", "telescope=jwst"]


@sc.main(Survey)
def look(cfg: Survey) -> None:
    """What a program does with it."""
    assert_type(cfg.telescope.mirror, float)


survey = sc.compose(["experiment=deep"], root=Survey)
assert_type(survey, Survey)
assert_type(survey.telescope, Telescope)
assert_type(Jwst.of(survey.telescope).segments, int)
assert_type(survey.precision, sc.Precision)
assert_type(survey.with_overrides(["targets=4"]), Survey)
assert_type(sc.from_hydra(OmegaConf.create({"targets": 5}), root=Survey), Survey)
assert_type(sc.from_hydra(OmegaConf.create({"local": {"name": "rack"}})), sc.EffectiveConfig)
look(["targets=2"])

assert_type(Rack().row, int)
assert_type(Rack().power.cooling, Cooling)

cfg = sc.compose(["trainer=multi_gpu", "local=hpc", "local.devices=8", "local.dev.limit_train_batches=10"])
assert_type(cfg, sc.EffectiveConfig)

# What is folded from local and trainer.
assert_type(cfg.devices, sc.Devices)
assert_type(cfg.precision, sc.Precision)
assert_type(cfg.seed, int)
assert_type(cfg.max_time, timedelta | None)
assert_type(cfg.max_steps, int | None)
assert_type(cfg.gradient_clip_val, float)
assert_type(cfg.strategy, sc.Strategy)
assert_type(cfg.num_workers, sc.NumWorkers)
assert_type(cfg.num_workers.train, int)
assert_type(cfg.mlflow, sc.MLflow)
assert_type(cfg.mlflow.tracking_uri, str)
assert_type(cfg.paths, sc.Paths)
assert_type(cfg.paths.output_dir, str)
assert_type(cfg.dev, sc.Dev)
assert_type(cfg.dev.limit_train_batches, sc.Batches | None)
assert_type(cfg.checkpoint, sc.Checkpoint)
assert_type(cfg.early_stopping.enabled, bool)
assert_type(cfg.console.refresh, sc.Refresh)

# The layers and the other groups.
assert_type(cfg.local, sc.LocalConfig)
assert_type(cfg.trainer, sc.TrainerConfig)
assert_type(cfg.trainer.precision, sc.Precision | None)
assert_type(cfg.model, sc.ModelConfig)
assert_type(cfg.data, sc.DataConfig)
assert_type(cfg.data.augmentation, sc.Augmentation)
assert_type(cfg.loss, sc.LossConfig)
assert_type(cfg.logger.style, sc.Style)
assert_type(cfg.optimizer, sc.OptimizerConfig)
assert_type(cfg.optimizer.schedule, sc.Schedule)
assert_type(cfg.profiles, dict[str, str])
assert_type(cfg.overrides, tuple[str, ...])
assert_type(cfg.warnings, tuple[str, ...])

# A profile's own fields, once its class is known.
ours = sc.compose(["local=rack", "trainer=overnight", "model=tiny", "data=short", "loss=likelihood"])
if isinstance(ours.local, Rack):
    assert_type(ours.local.row, int)
    assert_type(ours.local.power.watts, int)
if isinstance(ours.model, sc.V50Config):
    assert_type(ours.model.width, int)
if isinstance(ours.data, sc.NominalData):
    assert_type(ours.data.calibration.adc_gain, sc.AdcGain)
    assert_type(ours.data.calibration.adc_offset, sc.AdcOffset)
    assert_type(ours.data.simulation, sc.Simulation)

narrowed = sc.V50Config.of(ours.model)
assert_type(narrowed, sc.V50Config)
assert_type(Rack.of(ours.local).power.watts, int)

# A root of one's own.


@dataclass(kw_only=True)
class SolverConfig(sc.Profile):
    """How Kepler's equation is solved."""

    tolerance: Annotated[float, sc.about("Where to stop", gt=0)] = 1e-12


@sc.profile("solver", "newton")
@dataclass(kw_only=True)
class Newton(SolverConfig):
    """Newton's method."""


@sc.root("consumer")
@dataclass(frozen=True, kw_only=True)
class Kepler(sc.Config):
    """Solves for planets."""

    planets: Annotated[int, sc.about("Planets to solve for", ge=1)] = 100
    solver: SolverConfig = sc.group("newton")
    trainer: sc.TrainerConfig = sc.group("defaults")
    local: sc.LocalConfig = sc.group("default", over="trainer")
    precision: sc.Precision = sc.folded()


@sc.experiment("coarse", root=Kepler)
def coarse() -> list[str]:
    """Good enough."""
    return ["solver.tolerance=1e-3"]


kepler = sc.compose(["planets=7", "experiment=coarse"], root=Kepler)
assert_type(kepler, Kepler)
assert_type(kepler.planets, int)
assert_type(kepler.solver.tolerance, float)
assert_type(kepler.precision, sc.Precision)
assert_type(kepler.with_overrides(["planets=8"]), Kepler)
assert_type(sc.from_dict(kepler.to_dict(), "consumer.py", root=Kepler), Kepler)
assert_type(sc.from_hydra(OmegaConf.create(kepler.to_dict()), root=Kepler), Kepler)


@sc.main(Kepler)
def solve(config: Kepler) -> int:
    """What runs."""
    return 0 if config.planets == 7 else 1


solve(["planets=7"])

# Who set what.
origin = cfg.origin("precision")
assert_type(origin, sc.Origin)
assert_type(origin.layer, str)
assert_type(origin.source, str)
assert_type(origin.shadowed, tuple[sc.Setter, ...])
assert_type(origin.shadowed[0].option, str)
assert_type(cfg.origins(), list[sc.Origin])

# One config from another, and out to text and back.
assert_type(cfg.with_overrides(["optimizer=steady", "logger=quiet"]), sc.EffectiveConfig)
assert_type(cfg.fingerprint, str)
assert_type(cfg.science_fingerprint, str)
assert_type(cfg.to_dict(), dict[str, Any])
assert_type(cfg.to_yaml(), str)
assert_type(sc.from_dict(cfg.to_dict(), "consumer.py"), sc.EffectiveConfig)
file = Path("consumer.yaml")
file.write_text(cfg.to_yaml(), encoding="utf-8")
assert_type(sc.from_file(file), sc.EffectiveConfig)
assert_type(sc.pick_precision("auto-mixed", cuda_cap_bf16=False, cuda_cap_fp16=True), str)

# Mistakes.
try:
    cfg.with_overrides(["local.devcies=8"])
except sc.ConfigError as error:
    assert_type(error.problems, tuple[sc.Problem, ...])
    assert_type(error.problems[0].nearest, str | None)
    assert_type(error.corrected(), list[str] | None)
