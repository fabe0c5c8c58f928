"""Experiments that come with the package: ``experiment=NAME``."""

from spectramind_config.profiles.train import experiment


@experiment("narrow")
def narrow() -> list[str]:
    """A V50 of half the width that trains in half the time: to try an idea before the full model."""
    return ["model.width=24", "model.state_size=4", "model.airs_layers=1", "model.fgs1_layers=1", "optimizer.lr=6e-4"]


@experiment("overfit")
def overfit() -> list[str]:
    """Learn a few planets by heart: a model that cannot has a fault, whatever its validation score."""
    return [
        "local.dev.overfit_batches=0.1",
        "local.max_epochs=200",
        "trainer.early_stopping.enabled=false",
        "data.augmentation.time_flip=false",
        "data.augmentation.fresh_noise=0",
        "data.augmentation.extra_noise=0",
        "data.augmentation.depth_scale=1",
        "model.dropout=0",
        "optimizer.schedule=constant",
    ]


@experiment("challenge")
def challenge() -> list[str]:
    """V50 for hundreds of planets and more, of which the heads learn more than the few can tell."""
    return [
        "local.max_epochs=12",
        "data.batch_size=16",
        "data.augmentation.fresh_noise=0",
        "data.augmentation.extra_noise=0.3",
        "data.augmentation.depth_scale=1.1",
        "optimizer.lr=1e-4",
    ]


@experiment("without_encoders")
def without_encoders() -> list[str]:
    """No layer looks at light curves: what the state-space and graph layers bring."""
    return ["model.fgs1_layers=0", "model.airs_layers=0"]


@experiment("without_rehearsal")
def without_rehearsal() -> list[str]:
    """The head of shapes begins as it was drawn: what its passes over the labels bring."""
    return ["model.rehearsals=0"]


@experiment("without_limb_darkening")
def without_limb_darkening() -> list[str]:
    """Every planet's limb darkening is fitted by itself: what the law by the star's temperature brings."""
    return ["model.limb_darkening=false"]


@experiment("without_fit")
def without_fit() -> list[str]:
    """Spectra are regressed from light curves and nothing else: what the transit fit brings."""
    return ["model.residual=false"]
