"""Pseudonyms are Python's HMAC, and the key is in no plan."""

from __future__ import annotations

import hmac
import stat
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from purchasepath.config import Ingest
from purchasepath.errors import InputError
from purchasepath.sources.pseudonyms import add_pseudonyms, key_pads, load_key

IDS = ["1", "visitor-2", "Zoë ✓", "", "x" * 1000, None]


@pytest.mark.parametrize(
    "key", [b"a short enough key", b"k" * 64, b"longer than a block " * 9], ids=["short", "block", "long"]
)
def test_pseudonym_is_the_front_of_hmac_sha256(spark: SparkSession, key: bytes) -> None:
    frame = spark.createDataFrame([(i,) for i in IDS], "user_id string")
    found = {row["raw_user_id"]: row["user_id"] for row in add_pseudonyms(frame, key, ["user_id"]).collect()}
    assert found == {i: i if i is None else hmac.new(key, i.encode(), "sha256").hexdigest()[:32] for i in IDS}


def test_key_is_in_no_query_plan(spark: SparkSession) -> None:
    key = b"0123456789abcdef secret"
    frame = add_pseudonyms(spark.createDataFrame([("u",)], "user_id string"), key, ["user_id"])
    frame.collect()
    execution = frame._jdf.queryExecution()
    plan = execution.toString() + execution.executedPlan().treeString() + execution.debug().codegenToSeq().toString()
    assert "sha2" in plan
    for secret in (key, *key_pads(key)):
        for form in (secret.hex(), secret.decode("latin-1"), str(list(secret))[1:-1], secret.hex(" ")):
            assert form.lower() not in plan.lower()


def config(tmp_path: Path) -> Ingest:
    return Ingest(pseudonym_key_env="SHOP_KEY", pseudonym_key_file=str(tmp_path / "var" / "key"))


def test_key_file_is_made_once_for_its_owner_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    key = load_key(config(tmp_path))
    assert len(bytes.fromhex(key.decode())) == 32
    assert stat.S_IMODE((tmp_path / "var" / "key").stat().st_mode) == 0o600
    assert load_key(config(tmp_path)) == key
    assert [f.name for f in (tmp_path / "var").iterdir()] == ["key"]


def test_variable_wins_and_may_hold_the_file_s_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    from_file = load_key(config(tmp_path))
    monkeypatch.setenv("SHOP_KEY", (tmp_path / "var" / "key").read_text())
    (tmp_path / "var" / "key").unlink()
    assert load_key(config(tmp_path)) == from_file
    assert not (tmp_path / "var" / "key").exists()


def test_key_file_that_others_can_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_KEY", raising=False)
    load_key(config(tmp_path))
    (tmp_path / "var" / "key").chmod(0o640)
    with pytest.raises(InputError, match=r"read by others \(mode 640.*chmod 600"):
        load_key(config(tmp_path))


def test_short_key_is_refused_without_being_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_KEY", "hunter2")
    with pytest.raises(InputError, match="expected at least 16") as caught:
        load_key(config(tmp_path))
    assert "hunter2" not in str(caught.value)
