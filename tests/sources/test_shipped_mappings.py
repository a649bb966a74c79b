"""Each shipped mapping on a few literal lines in its own format."""

from __future__ import annotations

from pathlib import Path

import pyspark.sql.functions as F
import pytest
from chispa.dataframe_comparer import assert_df_equality
from pyspark.sql import DataFrame, SparkSession

from purchasepath.config import load_config
from purchasepath.sources.cleaning import REASONS
from purchasepath.sources.mapping import load_source
from purchasepath.sources.raw import RAW
from tests.conftest import ROOT
from tests.sources.reading import read, reasons, values, write_files


def when(*more: str) -> list[str]:
    """event_ts as text, and more columns."""
    return ["date_format(event_ts, 'yyyy-MM-dd HH:mm:ss.SSS') as at", *more]


def rows_of(frame: DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return values(frame.selectExpr(*when(*columns)), "*")


def test_retailrocket(spark: SparkSession, tmp_path: Path) -> None:
    text = (
        "timestamp,visitorid,event,itemid,transactionid\n1439665586123,1100820,view,91799,\n"
        "1439665710000,1,addtocart,47160,\n1439665734000,1,transaction,47160,77\n"
    )
    rows = read(
        spark,
        "retailrocket",
        write_files(tmp_path, {"events.csv.gz": text, "category_tree.csv": "categoryid,parentid\n"}),
    )
    assert rows_of(rows, "user_id", "event_type", "item_id", "order_id") == [
        ("2015-08-15 19:06:26.123", "1100820", "view", "91799", None),
        ("2015-08-15 19:08:30.000", "1", "cart", "47160", None),
        ("2015-08-15 19:08:54.000", "1", "purchase", "47160", "77"),
    ]


def test_rees46(spark: SparkSession, tmp_path: Path) -> None:
    text = (
        "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
        "2019-10-01 00:00:00 UTC,view,44600062,2103,,shiseido,35.79,541312140,72d7\n"
        "2019-10-01 00:00:01 UTC,remove_from_cart,39,2053,appliances.kitchen,,0.00,5,93\n"
        "2019-10-01 02:50:00 UTC,view,10900305,2053,appliances.kitchen,elenberg,25.71,52040330"
    )
    rows = read(spark, "rees46", write_files(tmp_path, {"2019-Oct.csv": text}))
    assert rows_of(rows.where(F.size(REASONS) == 0), "event_type", "category", "brand", "price", "source_session") == [
        ("2019-10-01 00:00:00.000", "view", "2103", "shiseido", 35.79, "72d7"),
        ("2019-10-01 00:00:01.000", "remove", "appliances.kitchen", None, None, "93"),
    ]
    assert reasons(rows) == [[], [], ["line has the wrong number of columns"]]


def test_trivago(spark: SparkSession, tmp_path: Path) -> None:
    columns = (
        "user_id string, session_id string, timestamp long, step long, action_type string, reference string, "
        "platform string, city string, device string, current_filters string, impressions string, prices string"
    )
    actions = [
        ("A", "s", 1541599523, 1, "search for poi", "Ōmiya Station", "BR", "Omiya, Japan", "mobile", None, None, None),
        ("A", "s", 1541599523, 2, "interaction item info", "unknown", "BR", "Omiya, Japan", "mobile", None, None, None),
        (
            "A",
            "s",
            1541599524,
            3,
            "clickout item",
            "913787",
            "BR",
            "Omiya, Japan",
            "mobile",
            None,
            "100|913787|7",
            "71|107|119",
        ),
        ("A", "s", 1541599525, 4, "clickout item", "5", "BR", "Omiya, Japan", "mobile", None, "100|913787", "71|107"),
        ("A", "s", 1541599526, 5, "search for item", "8", "BR", "Omiya, Japan", "mobile", None, None, None),
    ]
    spark.createDataFrame(actions, columns).coalesce(1).write.parquet(str(tmp_path / "raw"))
    rows = read(spark, "trivago", str(tmp_path))
    assert rows_of(rows, "left(event_id, 11)", "event_type", "item_id", "query", "price", "category", "device") == [
        ("2018-11-07 14:05:23.000", "0000000001-", "search", None, "Ōmiya Station", None, "Omiya, Japan", "mobile"),
        ("2018-11-07 14:05:23.000", "0000000002-", "view", None, None, None, "Omiya, Japan", "mobile"),
        ("2018-11-07 14:05:24.000", "0000000003-", "purchase", "913787", None, 107.0, "Omiya, Japan", "mobile"),
        ("2018-11-07 14:05:25.000", "0000000004-", "purchase", "5", None, None, "Omiya, Japan", "mobile"),
        ("2018-11-07 14:05:26.000", "0000000005-", "search", "8", None, None, "Omiya, Japan", "mobile"),
    ]


def test_simulated(spark: SparkSession, tmp_path: Path) -> None:
    text = (
        '{"id":"v1-2","ts":"2024-01-01T00:06:08.684424Z","received":"2024-01-01T00:06:11.261939Z","visitor":"v1",'
        '"login":"a1","type":"purchase","item":"i1","category":"bath","brand":"b","price":21.55,"quantity":2,'
        '"order":"o1","channel":"ad","campaign":"ad-04","device":"desktop","promo":true}\n'
        '{"id":"v1-3","ts":"2024-01-01T00:06:08Z","received":"2024-01-01T00:06:11Z","visitor":"v1","type":"search",'
        '"query":"bath mat","channel":"ad","device":"desktop","promo":false}\n{"id":"v1-4","ts":"2024-01-0\n'
    )
    files = {"events/part-0.txt.gz": text, "truth/shop.json": "{}", "truth/README.txt": "not a log"}
    rows = read(spark, "simulated", write_files(tmp_path, files))
    expected = spark.createDataFrame(
        [
            (
                "v1-2",
                "v1",
                "a1",
                8684424,
                2577515,
                "purchase",
                "i1",
                "bath",
                "b",
                21.55,
                2,
                "o1",
                None,
                "ad",
                "ad-04",
                "desktop",
                True,
            ),
            (
                "v1-3",
                "v1",
                None,
                8000000,
                3000000,
                "search",
                None,
                None,
                None,
                None,
                1,
                None,
                "bath mat",
                "ad",
                None,
                "desktop",
                False,
            ),
        ],
        "event_id string, user_id string, login_id string, at_us long, lag_us long, event_type string, item_id string, "
        "category string, brand string, price double, quantity int, order_id string, query string, channel string, "
        "campaign string, device string, promotion boolean",
    )
    found = rows.where(F.size(REASONS) == 0).withColumns(
        {
            "at_us": F.unix_micros("event_ts") % 60_000_000,
            "lag_us": F.unix_micros("arrived_at") - F.unix_micros("event_ts"),
        }
    )
    assert_df_equality(found.select(expected.columns), expected, ignore_row_order=True, ignore_nullable=True)
    assert reasons(rows) == [[], [], ["line is not one JSON object"]]


def test_behaviour_log(spark: SparkSession, tmp_path: Path) -> None:
    text = "".join(
        f"user1\t2023-01-01 10:00:0{n}\t{word}\t{subject}\n"
        for n, (word, subject) in enumerate(
            [
                ("browse-category", "shoes"),
                ("browse-product", "2345"),
                ("add-to-cart", "2345"),
                ("make-purchase", "2345"),
                ("search", "red shoes"),
                ("log-out", ""),
            ]
        )
    )
    rows = read(spark, "behaviour_log", write_files(tmp_path, {"log.tsv": text}))
    assert rows_of(rows.where(F.size(REASONS) == 0), "event_type", "item_id", "category", "query") == [
        ("2023-01-01 10:00:00.000", "category", None, "shoes", None),
        ("2023-01-01 10:00:01.000", "view", "2345", None, None),
        ("2023-01-01 10:00:02.000", "cart", "2345", None, None),
        ("2023-01-01 10:00:03.000", "purchase", "2345", None, None),
        ("2023-01-01 10:00:04.000", "search", None, None, "red shoes"),
    ]
    assert values(rows.where(F.size(REASONS) > 0), RAW, REASONS) == [
        ("user1\t2023-01-01 10:00:05\tlog-out\t", ["event_type is unknown"])
    ]


def test_shop_exports_become_one_stream(spark: SparkSession, tmp_path: Path) -> None:
    rows = read(
        spark,
        "shop_exports",
        write_files(
            tmp_path,
            {
                "purchases-2023.csv": "order_id,customer_id,purchased_at,product_id,category,unit_price,quantity\n"
                "o1,c1,2023-01-01 10:00:00,p1,shoes,19.90,2\n",
                "browsing_history.csv.gz": "customer_id,viewed_at,product_id,category,device\n"
                "c1,2023-01-01 09:59:00,p1,shoes,phone\n",
                "searches.csv": "customer_id,searched_at,query,device\n"
                'c1,2023-01-01T10:58:00+01:00,"shoes, red",phone\n',
            },
        ),
    )
    assert rows_of(rows, "event_type", "user_id", "item_id", "order_id", "price", "quantity", "query", "device") == [
        ("2023-01-01 09:58:00.000", "search", "c1", None, None, None, 1, "shoes, red", "phone"),
        ("2023-01-01 09:59:00.000", "view", "c1", "p1", None, None, 1, None, "phone"),
        ("2023-01-01 10:00:00.000", "purchase", "c1", "p1", "o1", 19.9, 2, None, None),
    ]
    assert reasons(rows) == [[], [], []]


@pytest.mark.parametrize("name", ["retailrocket", "rees46", "trivago", "behaviour_log", "shop_exports"])
def test_configuration_of_a_data_set_writes_to_places_of_its_own(name: str) -> None:
    config = load_config([ROOT / "conf" / f"{name}.yaml"])
    assert load_source(config.ingest.source).name == name
    written = config.paths.model_dump(exclude={"items"})  # an input, and none of these has it
    assert all(f"var/{name}/" in path for path in written.values())
    assert config.dataset.horizon_hours < min(config.dataset.valid_hours, config.dataset.test_hours) + 1e-9
