"""What is secret reaches the program, and nothing that is shown, recorded or compared."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

import spectramind_config as sc
from spectramind_config.commands.program import Program
from spectramind_config.compose.composition import compose
from spectramind_config.compose.saved import from_dict, from_file
from spectramind_config.errors import hidden

SECRET = "hunter2-hunter2"  # noqa: S105
URI = f"https://me:{SECRET}@mlflow.example:5000/x"


@dataclass(kw_only=True)
class Account(sc.Settings):
    """Somebody's account."""

    user: str = "me"
    """Who"""
    passphrase: Annotated[str, sc.about(secret=True, min_length=8)] = "none-at-all"  # noqa: S105
    """Known to nobody else"""


@dataclass(kw_only=True)
class StationConfig(sc.Profile):
    """A station."""

    address: str = "https://station.example"
    """Where it is"""
    account: Account = field(default_factory=Account)
    others: list[Account] = field(default_factory=list)
    """Accounts at other stations"""
    pin: Annotated[int | None, sc.about(secret=True, ge=1000)] = None
    """A number that nobody sees"""


@sc.profile("secret_station", "default")
@dataclass(kw_only=True)
class DefaultStation(StationConfig):
    """The usual one."""


@sc.root("secretive")
@dataclass(frozen=True, kw_only=True)
class Secretive(sc.Config):
    """A root with secrets."""

    secret_station: StationConfig = sc.group("default")


def secretive(*overrides: str) -> Secretive:
    """A config of that root."""
    return compose(list(overrides), Secretive)


GIVEN = {
    "a setting": f"secret_station.account.passphrase={SECRET}",
    "with spaces": f"secret_station.account.passphrase=one {SECRET} two",
    "in quotes": f"secret_station.account.passphrase='{SECRET}'",
    "in a section": f"secret_station.account={{user:you,passphrase:{SECRET}}}",
    "in a list": f"secret_station.others=[{{user:you,passphrase:{SECRET}}}]",
    "a URI": f"secret_station.address='{URI}'",
    "a token": f"secret_station.address='https://{SECRET}@mlflow.example'",
    "from the environment": "secret_station.account.passphrase=${oc.env:THE_SECRET}",
    "a URI from the environment": "secret_station.address='https://me:${oc.env:THE_SECRET}@mlflow.example'",
    "a default of a variable": f"secret_station.account.passphrase=${{oc.env:NOBODY_SETS_IT,{SECRET}}}",
}


@pytest.fixture(params=GIVEN.values(), ids=GIVEN.keys())
def override(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Ways to give a secret."""
    monkeypatch.setenv("THE_SECRET", SECRET)
    return str(request.param)


def reached(config: Secretive) -> bool:
    """Whether the program has the secret."""
    station = config.secret_station
    others = [one.passphrase for one in station.others]
    return any(SECRET in one for one in [station.account.passphrase, *others, station.address])


@pytest.mark.fault("a secret in a URI")
def test_the_program_has_it_and_no_record_does(override: str) -> None:
    """Manifest, saved config, overrides and provenance show ``***``."""
    config = secretive(override)
    assert reached(config)
    assert reached(config.with_overrides(["secret_station.account.user=you"]))
    assert reached(pickle.loads(pickle.dumps(config)))  # noqa: S301
    records = [config.to_yaml(), json.dumps(config.to_dict()), repr(config), " ".join(config.overrides)]
    records += [repr(config.secret_station), str(config.secret_station.others), f"{config.secret_station.account}"]
    records += [json.dumps(origin.to_dict()) + str(origin) + repr(origin) for origin in config.origins()]
    assert SECRET not in "\n".join(records)
    assert "***" in config.to_yaml()


@pytest.mark.fault("a secret in a URI")
def test_no_command_prints_it(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Show, explain and diff, as text and as JSON."""
    program = Program(Secretive, "secretive", about="Keeps secrets.")
    quoted = f'"{override}"' if "'" in override else f"'{override}'"
    for command in (
        ["config", "show", override],
        ["config", "explain", override],
        ["config", "explain", "secret_station", override],
        ["config", "diff", quoted, ""],
    ):
        for flags in ([], ["--json"]):
            assert program.main([*command, *flags]) == 0
    told = capsys.readouterr()
    assert "***" in told.out
    assert SECRET not in told.out + told.err


def test_what_is_no_secret_is_represented_as_ever() -> None:
    """As a dataclass does it; null is no secret."""
    station = secretive("secret_station.account.user=you").secret_station
    assert repr(station) == (
        "DefaultStation(name='default', address='https://station.example', "
        "account=Account(user='you', passphrase=***), others=[], pin=None)"
    )


@pytest.mark.parametrize("part", [["job"], ["all"], ["hydra"], ["job", "--resolve"]], ids=" ".join)
def test_hydra_does_not_print_it(part: list[str], override: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``--cfg`` prints YAML that reads as it would with another value."""
    program = Program(Secretive, "secretive", lambda _: None)
    assert program.main(["--cfg", *part, override, "secret_station.account.user=you"]) == 0
    told = capsys.readouterr()
    assert SECRET not in told.out + told.err
    assert "you" in told.out
    yaml.compose(told.out)


def test_hydra_does_not_print_it_alone(override: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor as the only thing there is."""
    program = Program(Secretive, "secretive", lambda _: None)
    for package in ("secret_station.account.passphrase", "secret_station.account"):
        assert program.main(["--cfg", "job", "--package", package, override]) == 0
    told = capsys.readouterr()
    assert "***" in told.out
    assert SECRET not in told.out + told.err


def test_what_config_show_prints_can_be_read(override: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``***`` is text there, and null stays null."""
    program = Program(Secretive, "secretive", about="Keeps secrets.")
    assert program.main(["config", "show", override]) == 0
    (tmp_path / "shown.yaml").write_text(capsys.readouterr().out)
    assert program.main(["config", "validate", "--file", str(tmp_path / "shown.yaml")]) == 0
    assert from_file(tmp_path / "shown.yaml", Secretive) == secretive(override)


@pytest.mark.fault("a secret in a URI")
@pytest.mark.parametrize("mistake", ["secret_station.account.usr=x", "secret_station.account.user=[1,2]", "x", "y=1"])
def test_no_message_quotes_it(mistake: str, override: str) -> None:
    """A mistake elsewhere on the command line, which the message repeats."""
    with pytest.raises(sc.ConfigError) as caught:
        secretive(override, mistake)
    assert SECRET not in str(caught.value)


@pytest.mark.fault("a secret in a URI")
@pytest.mark.parametrize(
    "mistake",
    [
        "secret_station.account.passphrase=hunter2",
        "secret_station.account={passphrase:hunter2}",
        "secret_station.others=[{passphrase:hunter2}]",
        "secret_station.account.passphrase=[hunter2]",
        "+secret_station.account.passphrase=hunter2",
        "secret_station.acount.passphrase=hunter2",
        "secret_station.pin=hunter2",
        "secret_station.pin='hunter2'",
        "secret_station.account.passphrase=hunter2 hunter2 )",
        "secret_station.account.passphrase=hunter2,hunter2",
        "secret_station.address=[https://hunter2@x]",
    ],
)
def test_a_secret_that_does_not_fit_is_not_quoted(mistake: str) -> None:
    """Too short, of another type, at a path that does not exist, out of the grammar."""
    with pytest.raises(sc.ConfigError) as caught:
        secretive(mistake)
    assert "hunter2" not in str(caught.value)


def test_it_counts_in_no_fingerprint_and_a_record_comes_back(override: str, tmp_path: Path) -> None:
    """Another password is the same config; what was recorded can be read, ``***`` included, and is equal."""
    config = secretive(override)
    other = secretive(override.replace(SECRET, "another-secret"))
    assert config.fingerprint == other.fingerprint
    assert config.science_fingerprint == other.science_fingerprint
    assert from_dict(config.to_dict(), "manifest.json", Secretive) == config
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    assert from_file(tmp_path / "config.yaml", Secretive) == config


def test_where_a_uri_leads_counts() -> None:
    """Only the password does not: host and user do."""
    uris = ["https://a:x@h", "https://b:x@h", "https://a:x@i", "https://h"]
    assert len({secretive(f"secret_station.address='{uri}'").fingerprint for uri in uris}) == 4


@given(st.text(st.characters(codec="ascii", exclude_characters="/?#'\" \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f"), min_size=8))
@example("p@ss:w0rd@@1")
@example("${oc.env:X}")
def test_any_password_of_a_uri_is_hidden(password: str) -> None:
    """With colons and at-signs in it too; a text is hidden once and stays as it is."""
    text = hidden(f"see https://me:{password}@host:80/path?x=1, and more")
    assert text == "see https://me:***@host:80/path?x=1, and more"
    assert hidden(text) == text


@given(st.text())
def test_other_texts_stay_as_they_are(text: str) -> None:
    """What holds no URI with a user is no secret."""
    if "@" not in text and "passphrase" not in text and "pin" not in text:
        assert hidden(text) == text


@pytest.mark.parametrize(
    "text", ["https://host/~user@home", "file:/a@b/c", "sqlite:////a@b", "a@b.example", "https://h/?q=a@b"]
)
def test_an_at_sign_elsewhere_is_none(text: str) -> None:
    """In a path, a query or an address."""
    assert hidden(text) == text
