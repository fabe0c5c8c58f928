"""Registration: what is refused, and what a site's own profile can do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pytest
from hydra import compose as hydra_compose
from hydra import initialize
from omegaconf import OmegaConf

import spectramind_config as sc
from spectramind_config.profiles.local import Dev, NumWorkers
from spectramind_config.schema.registry import REGISTRY

pytestmark = pytest.mark.usefixtures("forget")


@dataclass(kw_only=True)
class SiteDev(Dev):
    """One more switch."""

    trace: bool = False


def refused(group: str, name: str, cls: type[Any]) -> str:
    """The message that refuses a profile, on one line; it points at this file, and nothing is registered."""
    before = REGISTRY.known.profiles
    with pytest.raises(sc.ConfigError) as caught:
        sc.profile(group, name)(cls)
    assert before == REGISTRY.known.profiles
    assert f"{Path(__file__)}:" in str(caught.value)
    return " ".join(str(caught.value).split())


@dataclass(kw_only=True)
class Site(sc.LocalConfig):
    """A workstation with two cards."""

    devices: sc.Devices = 2
    rack: Annotated[int, sc.about("Rack of the machine room", ge=1)] = 7
    tags: Annotated[list[str], sc.about("Labels")] = field(default_factory=lambda: ["a"])
    limits: Annotated[dict[str, float], sc.about("Limits by name")] = field(default_factory=dict)


def test_an_unknown_group_is_refused() -> None:
    """The nearest group is named."""
    text = refused("locl", "site", Site)
    assert "there is no config group 'locl'" in text
    assert "nearest: local" in text


@pytest.mark.parametrize("name", ["", "3090", "a b", "a=b", "a/b", "a.b", "x,y", "é"])
def test_a_name_that_a_command_line_cannot_hold_is_refused(name: str) -> None:
    """A profile's name is a plain word."""
    assert f"'{name}' cannot be a profile's name" in refused("local", name, Site)


def test_a_class_of_another_group_is_refused() -> None:
    """The hint shows the class statement to write."""
    text = refused("trainer", "site", Site)
    assert "Site is not a subclass of TrainerConfig" in text
    assert "write: class Site(TrainerConfig):" in text


def test_a_class_that_is_no_settings_at_all_is_refused() -> None:
    """Any class below the wrong base, however plain."""

    class Plain:
        pass

    assert "is not a subclass of LocalConfig" in refused("local", "plain", Plain)


def test_a_class_without_the_decorator_is_refused() -> None:
    """A subclass that is not a dataclass itself would lose its own values silently."""

    class Undecorated(sc.LocalConfig):
        seed: int = 3

    text = refused("local", "undecorated", Undecorated)
    assert "is not a dataclass itself" in text
    assert "put @dataclass(kw_only=True) between @profile and the class" in text


def test_a_frozen_class_cannot_even_be_declared() -> None:
    """OmegaConf would make it read-only; Python itself forbids freezing a subclass of a plain dataclass."""
    with pytest.raises(TypeError, match="cannot inherit frozen dataclass from a non-frozen one"):

        @dataclass(kw_only=True, frozen=True)
        class Frozen(sc.LocalConfig):
            pass


def test_a_name_is_taken_once() -> None:
    """Another class under a known name is refused and told who has it; nobody runs with the one that was not meant."""
    text = refused("local", "hpc", Site)
    assert "that name is taken by HpcLocal (" in text
    with pytest.raises(sc.ConfigError, match=r"local=hpc cannot be chosen: .*that name is taken by HpcLocal \("):
        sc.compose(["local=hpc"])
    assert sc.compose(["local=debug"]).devices == "cpu"


@pytest.mark.parametrize(
    ("annotation", "default", "words"),
    [
        (str, "7", "seed: its type differs from the one that LocalConfig declares"),
        (int | None, None, "seed: its type differs from the one that LocalConfig declares"),
        (float, 7.0, "seed: its type differs from the one that LocalConfig declares"),
        (int, -1, "seed: -1 is not an int >= 0"),
        (int, 2**32, "seed: 4294967296 is not an int >= 0"),
        (int, "7", "seed: '7' is not an int"),
        (int, None, "seed: null is not allowed"),
        (int, True, "seed: True is not an int"),
    ],
)
def test_a_field_keeps_its_parents_type_and_range(annotation: Any, default: object, words: str) -> None:
    """A changed type and a default outside the parent's constraints are refused."""
    cls = type("Changed", (sc.LocalConfig,), {"__annotations__": {"seed": annotation}, "seed": default, "__doc__": "X"})
    cls.__module__ = __name__
    with pytest.raises(sc.ConfigError) as caught:
        sc.profile("local", "changed")(dataclass(kw_only=True)(cls))
    assert words in str(caught.value)


def test_the_line_of_a_wrong_default_is_named() -> None:
    """The origin is the field's own line, not only the class's."""

    @dataclass(kw_only=True)
    class Eager(sc.LocalConfig):
        """Wrong in one line."""

        prefetch_factor: int = 0

    text = refused("local", "eager", Eager)
    number = int(text.split(f"{Path(__file__)}:")[1].split()[0])
    assert Path(__file__).read_text(encoding="utf-8").splitlines()[number - 1].strip() == "prefetch_factor: int = 0"


def test_a_wrong_default_inside_a_section_is_refused() -> None:
    """Sections are checked leaf by leaf."""

    @dataclass(kw_only=True)
    class Deep(sc.LocalConfig):
        """Wrong in a section."""

        num_workers: NumWorkers = field(default_factory=lambda: NumWorkers(train=-1))

    assert "num_workers.train: -1 is not an int >= 0" in refused("local", "deep", Deep)


def test_a_field_without_a_default_is_refused() -> None:
    """A profile is complete by itself."""

    @dataclass(kw_only=True)
    class Incomplete(sc.LocalConfig):
        """Lacks a value."""

        rack: int

    text = refused("local", "incomplete", Incomplete)
    assert "'rack' has no default" in text
    assert "write: rack: ... = <value>" in text


@pytest.mark.parametrize("name", ["max_time", "max_steps", "strategy", "num_nodes", "checkpoint", "model", "trainer"])
def test_local_cannot_add_what_another_layer_owns(name: str) -> None:
    """A machine cannot lift a limit or choose a strategy by declaring a field of that name."""
    cls = type("Sly", (sc.LocalConfig,), {"__annotations__": {name: str}, name: "auto", "__doc__": "X"})
    cls.__module__ = __name__
    with pytest.raises(sc.ConfigError, match=f"{name}: a local profile cannot add a field that belongs to"):
        sc.profile("local", "sly")(dataclass(kw_only=True)(cls))


def test_contradictory_defaults_are_refused() -> None:
    """Settings that exclude each other are found when the profile is declared."""

    @dataclass(kw_only=True)
    class Torn(sc.LocalConfig):
        """Keeps workers that do not exist."""

        num_workers: NumWorkers = field(default_factory=lambda: NumWorkers(train=0, val=0, test=0))

    assert "persistent_workers is true but num_workers.train is 0" in refused("local", "torn", Torn)

    @dataclass(kw_only=True)
    class Odd(sc.V50Config):
        """Five heads cannot share 48 channels."""

        heads: int = 5

    assert "heads (5) does not divide width (48)" in refused("model", "odd", Odd)


def test_a_class_that_fails_is_refused_with_its_own_error() -> None:
    """Whatever ``__post_init__`` raises becomes the reason."""

    @dataclass(kw_only=True)
    class Failing(sc.LocalConfig):
        """Cannot be built."""

        def __post_init__(self) -> None:
            raise RuntimeError("no such rack")

    told = refused("local", "failing", Failing)
    assert "cannot be built: __post_init__ of Failing fails: RuntimeError: no such rack (" in told


def test_an_annotation_that_cannot_be_read_is_refused() -> None:
    """A name that is not imported is a mistake with a hint, not a NameError."""
    cls = type("Unread", (sc.LocalConfig,), {"__annotations__": {"rack": "NoSuchType"}, "rack": 1, "__doc__": "X"})
    cls.__module__ = __name__
    with pytest.raises(sc.ConfigError, match="its annotations cannot be read: name 'NoSuchType' is not defined"):
        sc.profile("local", "unread")(dataclass(kw_only=True)(cls))


def test_added_fields_are_typed_overridable_and_saved() -> None:
    """A subclass's own fields live at ``cfg.local``, are checked, explained, saved and read back."""
    sc.profile("local", "site")(Site)
    config = sc.compose(["local=site", "local.rack=9", "local.tags=[x,y]", "+local.limits.gpu=0.5"])
    assert type(config.local) is Site
    assert (config.devices, config.local.rack, config.local.tags, config.local.limits) == (
        2,
        9,
        ["x", "y"],
        {"gpu": 0.5},
    )
    assert config.to_dict()["local"] == {"name": "site", "rack": 9, "tags": ["x", "y"], "limits": {"gpu": 0.5}}
    assert config.origin("local.rack").option == "local.rack=9"
    assert sc.from_dict(config.to_dict(), "a.yaml") == config
    for wrong in ("local.rack=0", "local.rack=x", "local.tags=3", "+local.limits={a:x}", "local.tags=[[1]]"):
        with pytest.raises(sc.ConfigError, match="expected"):
            sc.compose(["local=site", wrong])


@pytest.mark.parametrize("override", ["+local.limits.gpu=2", "+local.tags.0=b", "+optimizer.betas.0=0.5"])
def test_what_exists_cannot_be_added(override: str) -> None:
    """An element of a list or of a dict is no different from a setting; ++ sets it whether it exists or not."""
    sc.profile("local", "site")(Site)
    before = ["local=site", "+local.limits.gpu=1"]
    with pytest.raises(sc.ConfigError, match="exists already, so it cannot be added") as caught:
        sc.compose([*before, override])
    assert str(caught.value).endswith(f" {override.removeprefix('+')}")
    assert sc.compose([*before, f"+{override}"]) == sc.compose([*before, override.removeprefix("+")])


def test_the_order_of_a_dicts_keys_is_no_difference() -> None:
    """A dict that is written in another order is the same value, with the same fingerprints."""
    sc.profile("local", "site")(Site)
    one = sc.compose(["local=site", "+local.limits={a:1,b:2}"])
    other = sc.compose(["local=site", "+local.limits.b=2", "+local.limits.a=1"])
    assert one == other
    assert one.science_fingerprint == other.science_fingerprint


def test_added_fields_reach_hydra_too() -> None:
    """Hydra composes the subclass with the same values."""
    sc.profile("local", "site")(Site)
    overrides = ["local=site", "local.rack=9", "local.tags=[x,'${local.name}']"]
    with initialize(version_base="1.3", config_path=None):
        theirs = OmegaConf.to_object(hydra_compose("train", overrides).local)
    assert theirs == sc.compose(overrides).local


def test_lists_and_dicts_of_a_profile_are_never_shared() -> None:
    """A list or dict that a config holds is frozen; the profile's own stays plain, and a copy of it may change."""
    sc.profile("local", "site")(Site)
    first = Site.of(sc.compose(["local=site", "+local.limits.gpu=0.5"]).local)
    with pytest.raises(TypeError, match="an effective config is frozen"):
        first.tags.append("b")
    with pytest.raises(TypeError, match="an effective config is frozen"):
        first.limits["gpu"] = 1.0
    assert (first.tags, first.limits) == (["a"], {"gpu": 0.5})
    [*first.tags].append("b")
    mine = Site()
    mine.tags.append("b")
    assert (mine.tags, Site.of(sc.compose(["local=site"]).local).tags) == (["a", "b"], ["a"])


def test_a_subclass_of_a_section_is_allowed() -> None:
    """A section may grow by a field of its own."""

    @sc.profile("local", "traced")
    @dataclass(kw_only=True)
    class Traced(sc.LocalConfig):
        """With a longer section."""

        dev: SiteDev = field(default_factory=SiteDev)

    assert sc.compose(["local=traced", "local.dev.trace=true"]).local.dev == SiteDev(trace=True)
    assert Traced.__doc__ == "With a longer section."


def test_a_class_that_is_defined_again_takes_its_place() -> None:
    """A notebook cell that runs twice redefines its profile instead of failing."""

    def cell(seed: int) -> None:
        @sc.profile("local", "notebook")
        @dataclass(kw_only=True)
        class Notebook(sc.LocalConfig):
            """Defined in a cell."""

            devices: sc.Devices = seed

    cell(1)
    first = sc.compose(["local=notebook"])
    cell(2)
    assert (first.devices, sc.compose(["local=notebook"]).devices) == (1, 2)
