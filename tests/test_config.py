"""Configuration: defaults, files, overrides, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from purchasepath.config import Config, load_config
from purchasepath.errors import ConfigError, UserError, nearest
from purchasepath.plain_yaml import read_yaml

ROOT = Path(__file__).resolve().parent.parent


def yaml_file(directory: Path, name: str, text: str) -> Path:
    file = directory / name
    file.write_text(text, encoding="utf-8")
    return file


def faults_of(files: list[Path], overrides: list[str]) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load_config(files, overrides)
    return error.value.faults


def test_without_files_the_defaults_hold() -> None:
    assert load_config() == Config()


def test_later_files_win_and_overrides_win_over_files(tmp_path: Path) -> None:
    first = yaml_file(tmp_path, "a.yaml", "sessions: {gap_minutes: 10, max_hours: 3, max_events: 7}")
    second = yaml_file(tmp_path, "b.yaml", "sessions: {gap_minutes: 20, max_hours: 4}")
    sessions = load_config([first, second], ["sessions.gap_minutes=25"]).sessions
    assert (sessions.gap_minutes, sessions.max_hours, sessions.max_events) == (25, 4, 7)


def test_the_last_of_two_overrides_wins() -> None:
    assert load_config([], ["score.top_k=3", "score.top_k=4"]).score.top_k == 4


def test_an_empty_file_changes_nothing(tmp_path: Path) -> None:
    assert load_config([yaml_file(tmp_path, "empty.yaml", "# nothing yet\n")]) == Config()


@pytest.mark.parametrize(("override", "read"), [
    ("sessions.cut_at_midnight=true", lambda c: c.sessions.cut_at_midnight is True),
    ("sessions.gap_minutes=12.5", lambda c: c.sessions.gap_minutes == 12.5),
    ("evaluate.ks=[1, 3]", lambda c: c.evaluate.ks == (1, 3)),
    ("paths.raw=/data/a b.csv", lambda c: c.paths.raw == "/data/a b.csv"),
    ("paths.raw=x=y.csv", lambda c: c.paths.raw == str(Path.cwd() / "x=y.csv")),
    ("spark.conf.spark.sql.ansi.enabled=false", lambda c: c.spark.conf == {"spark.sql.ansi.enabled": "false"}),
])
def test_overrides_are_read_as_yaml_values(override: str, read) -> None:  # type: ignore[no-untyped-def]
    assert read(load_config([], [override]))


@pytest.mark.parametrize(("override", "read"), [
    ("simulate.start=2024-01-01", "2024-01-01"), ("paths.raw=2023", "2023"), ("paths.raw=010", "010"),
    ("paths.raw=a #b.csv", "a #b.csv"), ("paths.raw=[x]", "[x]"), ("paths.raw={a,b}.csv", "{a,b}.csv"),
    ("paths.raw='[x]'", "[x]"), ("paths.raw=no", "no"), ("paths.raw=12:30", "12:30"), ("paths.raw=a: b", "a: b"),
    ("paths.raw=1_000", "1_000"), ("paths.items=", ""), ("paths.raw=null", "null"), ("paths.raw=ü'x", "ü'x"),
])
def test_text_is_what_is_written(override: str, read: str) -> None:
    section, _, key = override.partition("=")[0].partition(".")
    seen_from_the_root = str(Path.cwd() / read) if section == "paths" and read else read
    assert getattr(getattr(load_config([], [override]), section), key) == seen_from_the_root


def test_a_file_holds_what_is_written(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "c.yaml", "simulate: {start: 2024-02-29}\npaths: {raw: 010, items: 1_000, runs: no}\n"
                     "sessions: {cut_at_midnight: true, gap_minutes: 1e2}\n"
                     "spark: {conf: {spark.a: 0.00, spark.b: on}}\n")
    config = load_config([file])
    assert (config.simulate.start, config.paths.raw, config.paths.items, config.paths.runs) == (
        "2024-02-29", *(str(Path.cwd() / written) for written in ("010", "1_000", "no")))
    assert (config.sessions.cut_at_midnight, config.sessions.gap_minutes) == (True, 100)
    assert config.spark.conf == {"spark.a": "0.00", "spark.b": "on"}


def test_a_key_given_twice_is_refused_with_its_lines(tmp_path: Path) -> None:
    text = "training: {epochs: 9, epochs: 8}\nmodel: {width: 8}\ntraining: {ranks: 1}\n"
    file = yaml_file(tmp_path, "twice.yaml", text)
    (fault,) = faults_of([file], [])
    assert "twice.yaml: `epochs` is given twice (lines 1 and 1); `training` is given twice (lines 1 and 3)" in fault
    assert "given twice" in faults_of([], ["spark.conf={spark.a: 1, spark.a: 2}"])[0]


def test_keys_that_a_merge_brings_may_be_given_anew(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "m.yaml", "sessions: &s {max_hours: 3, max_events: 7}\n"
                     "features: {every_hours: 24}\n")
    assert load_config([file]).sessions.max_events == 7
    assert read_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}") == {"a": {"x": "1", "y": "2"}, "b": {"x": "3", "y": "2"}}


@pytest.mark.parametrize("override", [
    "sessions.gap_minutes=inf", "sessions.gap_minutes=nan", "sessions.max_hours=-1", "sessions.max_hours=1e-9",
    "sessions.late_horizon_days=1.0e9", "simulate.start=2024-02-30", "simulate.start=20240101",
    "simulate.start=0001-01-01",
    "training.learning_rate=inf", "training.seed=-1", "dataset.horizon_hours=1e30",
    "paths.warehouse=", "spark.driver_memory=0g", "training.ranks=1e99", "training.ranks=",
])
def test_a_value_that_nothing_can_be_done_with_is_refused_when_it_is_read(override: str) -> None:
    key, _, value = override.partition("=")
    (fault,) = faults_of([], [override])
    assert fault.startswith(key)
    assert value.strip("[]") in fault


def test_every_number_has_a_largest_value() -> None:
    free = [f"{name}.{key}" for name, field in Config.model_fields.items()
            for key, knob in field.annotation.model_fields.items()  # type: ignore[union-attr]
            if knob.annotation in (int, float) and not any(hasattr(r, "le") or hasattr(r, "lt") for r in knob.metadata)]
    assert not free


def test_every_span_of_time_fits_into_microseconds() -> None:
    unit_us = {"seconds": 10**6, "minutes": 60 * 10**6, "hours": 3600 * 10**6, "days": 86_400 * 10**6}
    longest_us = {f"{name}.{key}": unit_us[unit] * min(rule.le for rule in knob.metadata if hasattr(rule, "le"))
                  for name, field in Config.model_fields.items()
                  for key, knob in field.annotation.model_fields.items()  # type: ignore[union-attr]
                  if (unit := key.split("_")[-1]) in unit_us}
    assert {"sessions.gap_minutes", "sessions.late_horizon_days", "dataset.horizon_hours"} <= longest_us.keys()
    assert not [name for name, us in longest_us.items() if us > 2**61]
    (fault,) = faults_of([], ["sessions.late_horizon_days=1.0e9"])
    assert "36500" in fault


def test_spark_settings_from_file_and_command_line_come_together(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "c.yaml", "spark: {conf: {spark.a: 1m}}")
    assert load_config([file], ["spark.conf.spark.b=2"]).spark.conf == {"spark.a": "1m", "spark.b": "2"}


def test_an_unknown_key_names_the_nearest() -> None:
    (fault,) = faults_of([], ["sessions.gap_minuts=3"])
    assert fault == "unknown key `sessions.gap_minuts` (did you mean `gap_minutes`?)"


def test_an_unknown_section_names_the_nearest() -> None:
    assert faults_of([], ["sesions.gap_minutes=3"]) == ["unknown key `sesions` (did you mean `sessions`?)"]


def test_a_key_near_to_nothing_lists_what_is_known() -> None:
    (fault,) = faults_of([], ["features.zzz=3"])
    assert fault == "unknown key `features.zzz` (known: chunk_days, every_hours, identity)"


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    file = yaml_file(tmp_path, "bad.yaml", "sessions: {gap_minutes: -1}\nmodel: {widht: 32}\n")
    found = faults_of([file], ["training.ranks=none"])
    assert len(found) == 3
    assert any("sessions.gap_minutes" in f and "-1" in f for f in found)
    assert any("did you mean `width`?" in f for f in found)
    assert any("training.ranks" in f and "'none'" in f for f in found)


@pytest.mark.parametrize("override", ["sessions", "sessions=3", "sessions.gap_minutes", "=3", ".gap=3"])
def test_an_override_of_another_form_shows_the_right_one(override: str) -> None:
    assert any("sessions.gap_minutes=20" in fault or "unknown key" in fault for fault in faults_of([], [override]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (fault,) = faults_of([tmp_path / "nowhere.yaml"], [])
    assert "nowhere.yaml cannot be read" in fault


@pytest.mark.parametrize("text", ["sessions: {gap_minutes: [", "- a\n- b\n", "just words"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (fault,) = faults_of([yaml_file(tmp_path, "odd.yaml", text)], [])
    assert "odd.yaml" in fault


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system"])
def test_a_file_cannot_make_us_run_code(tmp_path: Path, tag: str) -> None:
    (fault,) = faults_of([yaml_file(tmp_path, "evil.yaml", f"paths: {{raw: {tag}}}")], [])
    assert "is not YAML" in fault


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        load_config().sessions.gap_minutes = 3


def test_every_knob_says_what_it_means() -> None:
    silent = [f"{name}.{key}" for name, field in Config.model_fields.items()
              for key, knob in field.annotation.model_fields.items() if not knob.description]  # type: ignore[union-attr]
    assert not silent


@pytest.mark.parametrize("file", sorted((ROOT / "conf").glob("*.yaml")), ids=lambda f: f.name)
def test_shipped_configurations_load(file: Path) -> None:
    assert load_config([file]) != Config()


@given(st.floats(min_value=0.001, max_value=1e6, allow_nan=False))
def test_a_number_survives_the_command_line(minutes: float) -> None:
    read = load_config([], [f"sessions.gap_minutes={minutes:f}"]).sessions.gap_minutes
    assert read == pytest.approx(minutes, abs=1e-6)


def test_errors_for_users_are_user_errors() -> None:
    assert issubclass(ConfigError, UserError)
    assert nearest("sessionise", ["sessionize", "score"]) == " (did you mean `sessionize`?)"


@pytest.mark.parametrize("timezone", ["Mars/Olympus", "", "../etc/passwd"])
def test_a_time_zone_that_nobody_knows_is_a_fault(timezone: str) -> None:
    with pytest.raises(ConfigError, match=r"sessions\.timezone: not a time zone; .*such as Europe/Berlin"):
        load_config([], [f"sessions.timezone='{timezone}'"])


@pytest.mark.parametrize(("override", "told"), [
    ("spark.conf.spark.authenticate.secret=hush", "spark.authenticate.secret would be written into run manifests"),
    ("spark.conf.spark.hadoop.fs.azure.account.key.shop=hush", "fs.azure.account.key.shop would be"),
    ("spark.conf.spark.hadoop.fs.s3a.session.token=hush", "fs.s3a.session.token would be"),
    ("spark.conf.spark.hadoop.jdo.ConnectionURL=jdbc:mysql://db/x?password=hush", "jdo.ConnectionURL would be"),
    ("tracking.uri=https://anna:hush@mlflow.example.org", "password, which would be written into run manifests"),
    ("tracking.uri=postgresql://anna:hush@db/mlflow", "password, which would be written into run manifests"),
])
def test_a_secret_is_refused_without_being_shown(override: str, told: str) -> None:
    (fault,) = faults_of([], [override])
    assert told in fault
    assert "hush" not in fault


@pytest.mark.parametrize("override", [
    "spark.conf.spark.hadoop.fs.s3a.aws.credentials.provider=org.example.Provider",
    "tracking.uri=https://anna@mlflow.example.org:5000/a:b@c",
])
def test_what_only_speaks_of_secrets_is_none(override: str) -> None:
    load_config([], [override])


@pytest.mark.parametrize("knob", ["model.tasks=[item, item]", "evaluate.ks=[5, 10, 5]"])
def test_a_choice_made_twice_is_refused(knob: str) -> None:
    assert "expected each once" in faults_of([], [knob])[0]


@pytest.mark.parametrize("name", ["", "shop/july", "../july", "a:b", "x" * 201])
def test_a_model_has_a_name_that_a_directory_can_have(name: str) -> None:
    assert "expected a name" in faults_of([], [f"tracking.registered_model='{name}'"])[0]
    assert load_config([], ["tracking.registered_model=schöner [x] 1%"]).tracking.registered_model == "schöner [x] 1%"


def test_heads_that_do_not_divide_the_width_are_refused_where_they_attend() -> None:
    assert "heads=3 must divide width=8" in faults_of([], ["model.width=8", "model.heads=3"])[0]
    assert load_config([], ["model.encoder=gru", "model.width=8", "model.heads=3"]).model.heads == 3


def test_a_text_with_a_nul_is_refused(tmp_path: Path) -> None:
    assert "holds a NUL" in faults_of([yaml_file(tmp_path, "a.yaml", 'paths: {warehouse: "a\\0b"}')], [])[0]


def test_brackets_without_end_are_no_traceback(tmp_path: Path) -> None:
    assert "nested too deeply" in faults_of([yaml_file(tmp_path, "a.yaml", "a: " + "[" * 5000 + "]" * 5000)], [])[0]
