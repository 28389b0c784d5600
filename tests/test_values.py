"""What may be logged and configured, what comes back from the record, and how everything else is refused."""

from __future__ import annotations

import argparse
import dataclasses
import enum
import fractions
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jupyter_resume as wandb
from jupyter_resume.errors import InvalidValue
from jupyter_resume.store import lines
from jupyter_resume.store.home import Store
from jupyter_resume.values import MAX_KEY, RESERVED


class Colour(str, enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


SCALARS: list[tuple[Any, object]] = [
    (10**1000, 10**1000),
    (1, 1), (0, 0), (-1, -1), (True, True), (False, False), (None, None), ("text", "text"), ("", ""), (0.1, 0.1),
    (-0.0, -0.0), (5e-324, 5e-324), (1.7e308, 1.7e308), ("häß \U0001f600", "häß \U0001f600"),
    ("\x00\n\x7f", "\x00\n\x7f"), ("\ud800", "\ud800"), (2**63 - 1, 2**63 - 1), (-(2**63), -(2**63)),
    (2**64, 2**64), (10**30, 10**30), (-(10**30), -(10**30)), (Colour.RED, "red"), (Level.HIGH, 3),
    (fractions.Fraction(1, 4), 0.25), (np.float32(0.5), 0.5), (np.float16(0.5), 0.5), (np.float64(0.1), 0.1),
    (np.longdouble(0.5), 0.5), (np.int8(-3), -3), (np.uint64(2**64 - 1), 2**64 - 1), (np.bool_(True), True),
    (np.str_("text"), "text"), (np.array(2.5), 2.5), (np.array(7), 7), (np.array(False), False),
]  # fmt: skip


def logged(store: Store, **values: Any) -> dict[str, Any]:
    """The row as it is read back from the record."""
    run = wandb.init(project="values")
    run.log(values)
    run.finish()
    (row,) = store.record(run.run_path).history()
    return row


def identical(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return (math.isnan(one) and math.isnan(other)) or (
            one == other and math.copysign(1, one) == math.copysign(1, other)
        )
    return type(one) is type(other) and one == other


@pytest.mark.parametrize(
    ("value", "expected"),
    SCALARS,
    ids=lambda value: f"{type(value).__name__}-{value!r:.20}".encode("ascii", "replace").decode(),
)
def test_a_scalar_comes_back_from_the_record_as_it_was(store: Store, value: Any, expected: object) -> None:
    row = logged(store, x=value, y=1)
    assert identical(row["x"], expected)
    assert type(row["x"]) is type(expected)
    assert row["y"] == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [float, np.float32, np.float64, np.array])
def test_nan_and_the_infinities_come_back_as_such_also_in_the_summary(store: Store, value: float, kind: Any) -> None:
    run = wandb.init(project="values")
    for known in (False, True):  # a name is treated in another way once it is known
        run.log({"x": kind(value), "known": known})
    run.summary["best"] = value
    run.config["bound"] = value
    run.finish()
    record = store.record(run.run_path)
    assert all(identical(row["x"], value) for row in record.history())
    tail = record.tail()
    assert tail is not None
    assert identical(tail.point.summary["x"], value)
    assert identical(tail.point.summary["best"], value)
    assert identical(tail.point.config["bound"], value)
    again = wandb.init(project="values", id=run.id, resume="must")
    assert identical(again.summary["x"], value)
    assert again.step == 2


def test_torch_scalars_are_taken(store: Store) -> None:
    torch = pytest.importorskip("torch")
    row = logged(
        store,
        plain=torch.tensor(0.5),
        graph=torch.tensor(0.5, requires_grad=True) * 2,
        half=torch.tensor(0.5, dtype=torch.bfloat16),
        count=torch.tensor(3),
        flag=torch.tensor(True),
        nan=torch.tensor(math.nan),
    )
    assert [row[name] for name in ("plain", "graph", "half", "count", "flag")] == [0.5, 1.0, 0.5, 3, True]
    assert math.isnan(row["nan"])


def test_a_torch_scalar_without_a_value_is_refused_by_name() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(InvalidValue, match=r"'x' is torch.Tensor without a value here"):
        wandb.init(project="values").log({"x": torch.tensor(0.5, device="meta")})


def test_jax_scalars_are_taken(store: Store) -> None:
    jax = pytest.importorskip("jax")
    jnp = pytest.importorskip("jax.numpy")
    row = logged(
        store, plain=jnp.array(0.5), half=jnp.array(0.5, dtype=jnp.bfloat16), count=jnp.array(3), flag=jnp.array(True),
        type=jnp.bfloat16(0.5), mean=jax.jit(jnp.mean)(jnp.ones(3)),
    )  # fmt: skip
    assert [row[name] for name in ("plain", "half", "count", "flag", "type", "mean")] == [0.5, 0.5, 3, True, 0.5, 1.0]


def test_a_traced_jax_scalar_is_refused_by_name_in_one_line() -> None:
    jax = pytest.importorskip("jax")
    run = wandb.init(project="values")

    def step(x: Any) -> Any:
        run.log({"loss": x})
        return x

    with pytest.raises(InvalidValue, match=r"'loss' is .* without a value here") as refused:
        jax.jit(step)(1.0)
    assert "\n" not in str(refused.value)


def test_a_nested_dict_is_flattened_with_dots(store: Store) -> None:
    row = logged(store, train={"loss": {"mse": 0.1, "mae": 0.2}, "acc": 1}, empty={})
    assert {name: value for name, value in row.items() if name not in RESERVED} == {
        "train.loss.mse": 0.1,
        "train.loss.mae": 0.2,
        "train.acc": 1,
    }


def test_a_dict_nested_without_end_is_refused_and_named() -> None:
    endless: dict[str, Any] = {}
    endless["again"] = endless
    run = wandb.init(project="values")
    with pytest.raises(InvalidValue, match="nested more than 32 deep"):
        run.log({"endless": endless})
    with pytest.raises(InvalidValue, match="nested more than 32 deep"):
        run.config["endless"] = endless


REFUSED: list[tuple[Any, str]] = [
    ([1, 2], "list"), ((1,), "tuple"), ({1}, "set"), (b"bytes", "bytes"), (1j, "complex"), (object(), "object"),
    (np.ones(3), r"shape \(3,\)"), (np.ones((1, 1)), r"shape \(1, 1\)"), (np.complex64(1), "numpy.complex64"),
    (np.datetime64("2020-01-01"), "numpy.datetime64"), (np.array(None), "numpy.ndarray"), (print, "builtin_function"),
    (10**5000, "bits"), (fractions.Fraction(10) ** 400, "Fraction"),
]  # fmt: skip


@pytest.mark.parametrize(("value", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_what_is_no_scalar_is_refused_by_its_name_and_the_rest_of_the_call_is_recorded(
    store: Store, value: Any, says: str
) -> None:
    run = wandb.init(project="values")
    for n in range(2):  # the second time the good names are known
        with pytest.raises(InvalidValue, match=f"'bad' .*{says}.*other values of the call were recorded") as refused:
            run.log({"before": n, "bad": value, "after": n})
        assert refused.value.key == "bad"  # type: ignore[attr-defined]
        assert "\n" not in str(refused.value)
    with pytest.raises(InvalidValue, match=r"'outer\.bad'") as refused:
        run.log({"before": 2, "outer": {"bad": value, "good": 1}})
    assert refused.value.key == "outer.bad"  # type: ignore[attr-defined]
    run.finish()
    rows = list(store.record(run.run_path).history())
    assert [row["before"] for row in rows] == [0, 1, 2]
    assert [row.get("after") for row in rows] == [0, 1, None]
    assert rows[2]["outer.good"] == 1


def test_a_call_of_which_nothing_can_be_recorded_makes_no_row_and_no_step(store: Store) -> None:
    run = wandb.init(project="values")
    with pytest.raises(InvalidValue) as refused:
        run.log({"bad": object()})
    assert "other values" not in str(refused.value)
    assert run.step == 0
    run.log({"good": 1})
    assert [row["good"] for row in store.record(run.run_path).history()] == [1]


def test_of_many_values_that_cannot_be_recorded_the_first_are_named_and_the_others_counted() -> None:
    run = wandb.init(project="values")
    with pytest.raises(InvalidValue, match=r"^'a' .*; 'b' .*; 'c' [^;]*; and 2 more\.$"):
        run.log({name: object() for name in "abcde"})
    with pytest.raises(InvalidValue, match=r"^'a' .*; 'b' .*; 'c' [^;]*: [^;]*\.$"):
        run.log({name: object() for name in "abc"})


@pytest.mark.parametrize("data", [None, 1, "loss", [("loss", 1)], {"loss"}])
def test_what_is_no_dict_is_refused(data: Any) -> None:
    with pytest.raises(InvalidValue, match="takes a dict of names and values"):
        wandb.init(project="values").log(data)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x" * 10_000, "10000 characters"), ("x" * (MAX_KEY + 1), "1001 characters"), ("a\x00b", "control characters"),
        ("a\nb", "control characters"), ("\x7f", "control characters"), ("", "empty"), (1, "int, not a string"),
        (None, "NoneType, not a string"), (("a", "b"), "tuple, not a string"), ("_step", "pass step="),
        ("_timestamp", "set by log"), ("_runtime", "set by log"),
    ],
)  # fmt: skip
def test_a_bad_name_is_refused_in_one_short_line_and_the_rest_of_the_call_is_recorded(
    store: Store, name: Any, says: str
) -> None:
    run = wandb.init(project="values")
    with pytest.raises(InvalidValue, match=says) as refused:
        run.log({"loss": 0.1, name: 0.2})
    assert len(str(refused.value)) < 300
    assert str(refused.value).isprintable()
    assert refused.value.key == name  # type: ignore[attr-defined]
    (row,) = store.record(run.run_path).history()
    assert row["loss"] == 0.1
    assert set(row) == {"loss", "_step", "_timestamp", "_runtime"}


def test_a_name_of_the_greatest_length_and_of_any_other_characters_is_taken(store: Store) -> None:
    names = ["x" * MAX_KEY, "verlust/täglich", "a b", "\U0001f600", '"quoted"', "a.b", "\ud800", "\u2028"]
    row = logged(store, **dict.fromkeys(names, 1))
    assert [row[name] for name in names] == [1] * len(names)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
    | st.text(st.characters(categories=["Cs"]), max_size=1)
)
NAMES = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=4), min_size=1, max_size=5))
def test_whatever_is_logged_is_what_the_record_says(store: Store, rows: list[dict[str, Any]]) -> None:
    run = wandb.init(project="values")
    for row in rows:
        run.log(row)
    run.finish()
    read = list(store.record(run.run_path).history())
    assert [row["_step"] for row in read] == list(range(len(rows)))
    for row, found in zip(rows, read, strict=True):
        assert set(found) == {*row, "_step", "_timestamp", "_runtime"}
        assert all(identical(found[name], value) for name, value in row.items())


@given(st.binary())
def test_bytes_that_are_no_line_are_known_for_it(data: bytes) -> None:
    assert lines.unseal(data) is None


@given(st.sampled_from("HSrofsmce"), st.dictionaries(st.text(), VALUES), st.data())
def test_a_line_reads_back_and_a_damaged_one_does_not(kind: str, value: dict[str, Any], data: st.DataObject) -> None:
    line = lines.seal(kind, lines.dump_any(value))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    read = lines.unseal(line[:-1])
    assert read is not None
    assert read[0] == kind
    assert all(identical(read[1][name], one) for name, one in value.items())
    at = data.draw(st.integers(9, len(line) - 2))
    damaged = bytearray(line[:-1])
    damaged[at] ^= data.draw(st.integers(1, 255))
    assert lines.unseal(bytes(damaged)) is None
    assert lines.unseal(line[: data.draw(st.integers(0, len(line) - 2))]) is None


# Config and summary


@dataclasses.dataclass
class Plan:
    lr: float
    layers: tuple[int, ...]


def test_a_config_may_be_a_dict_a_dataclass_or_a_namespace() -> None:
    expected = {"lr": 0.1, "layers": [1, 2]}
    for config in (expected, Plan(0.1, (1, 2)), argparse.Namespace(lr=0.1, layers=(1, 2))):
        assert wandb.init(project="values", config=config).config.as_dict() == expected


def test_a_config_holds_any_plain_value_and_arrays_as_lists(store: Store) -> None:
    run = wandb.init(project="values")
    run.config.update(
        {"nested": {"deep": [1, {"x": None}]}, "path": Path("a/b"), "array": np.arange(3), "big": 10**30},
        rate=np.float32(0.5),
    )
    run.config.plan = Plan(0.1, (1,))
    expected = {
        "nested": {"deep": [1, {"x": None}]}, "path": "a/b", "array": [0, 1, 2], "big": 10**30, "rate": 0.5,
        "plan": {"lr": 0.1, "layers": [1]},
    }  # fmt: skip
    assert run.config.as_dict() == expected
    tail = store.record(run.run_path).tail()
    assert tail is not None
    assert tail.point.config == expected


@pytest.mark.parametrize("value", [object(), {1: object()}, [print], b"bytes", {None: 1}, 1j])
def test_a_config_value_that_cannot_be_recorded_is_refused_by_name_and_changes_nothing(value: Any) -> None:
    run = wandb.init(project="values", config={"lr": 0.1})
    with pytest.raises(InvalidValue, match="model"):
        run.config.update({"lr": 0.2, "model": value})
    with pytest.raises(InvalidValue, match="model"):
        run.summary["model"] = value
    assert run.config.as_dict() == {"lr": 0.1}
    assert run.summary.as_dict() == {}


@pytest.mark.parametrize("config", [1, "lr=0.1", ["lr"], b"x"])
def test_a_config_that_is_no_mapping_is_refused(config: Any) -> None:
    with pytest.raises(InvalidValue, match="config="):
        wandb.init(project="values", config=config)
    assert wandb.run is None


def test_a_config_can_be_copied_as_any_mapping() -> None:
    import copy

    run = wandb.init(project="values", config={"lr": 0.1, "layers": [1]})
    for copied in (dict(run.config), copy.copy(run.config), copy.deepcopy(run.config)):
        assert dict(copied) == {"lr": 0.1, "layers": [1]}
        copied["lr"] = 0.2
    assert run.config.lr == 0.1
    with pytest.raises(AttributeError, match="no 'rate' here; there is lr, layers"):
        _ = run.config.rate
