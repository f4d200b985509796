"""keras_prelu.cli.options: option groups and the types of values."""

from dataclasses import dataclass, fields

import click
import pytest
from click.testing import CliRunner

from keras_prelu.cli.options.groups import option, option_group
from keras_prelu.cli.options.parameter_types import ByteSize, MeasureLimit, Slope, Times
from keras_prelu.cli.options.training import TrainingOptions


@dataclass(frozen=True)
class Group:
    count: int = option("--count", type=click.IntRange(min=1), default=3, help="How many.")
    budget: float = option("--budget", type=Times(), default="2x")
    names: tuple[str, ...] = option("--name", multiple=True)
    dry: bool = option("--dry", is_flag=True)


def call(decorator, *arguments):
    received = {}

    @click.command()
    @decorator
    @click.option("--other")
    def command(**kwargs):
        received.update(kwargs)

    result = CliRunner().invoke(command, arguments)
    return received, result


def test_a_group_arrives_as_one_dataclass():
    received, _ = call(
        option_group("group", Group),
        *["--count", "5", "--budget", "4x", "--name", "a", "--name", "b", "--dry", "--other", "c"],
    )
    assert received == {"group": Group(5, 4.0, ("a", "b"), True), "other": "c"}


def test_defaults_are_those_of_the_dataclass():
    received, _ = call(option_group("group", Group))
    assert received["group"] == Group() == Group(3, 2.0, (), False)


def test_a_part_of_a_group():
    received, _ = call(option_group("group", Group, only=("count",)), "--count", "4")
    assert received["group"] == Group(count=4)
    _, result = call(option_group("group", Group, only=("count",)), "--dry")
    assert "No such option" in result.output


def test_help_lists_the_options_in_the_order_of_the_fields():
    decorator = option_group("group", Group, count={"help": "Something else."})
    _, result = call(decorator, "--help")
    text = " ".join(result.output.split())
    names = ["--count", "--budget", "--name", "--dry", "--other"]
    assert sorted(names, key=text.index) == names
    assert "Something else. [default: 3; x>=1]" in text
    assert "[default: 2x]" in text


def test_the_settings_of_a_fine_tuning_have_defaults():
    options = TrainingOptions()
    assert (options.epochs, options.batch_size, options.budget) == (10, 32, 3.0)
    assert all(field.metadata for field in fields(TrainingOptions))


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        (Slope(), "auto", "auto"),
        (Slope(), "-0.5", -0.5),
        (ByteSize(), "4GB", 4e9),
        (ByteSize(), "1.5 kb", 1500.0),
        (ByteSize(), "7", 7.0),
        (Times(), "3x", 3.0),
        (Times(), "2.5", 2.5),
        (MeasureLimit(["dead"]), "dead=0.2", ("dead", 0.2)),
    ],
)
def test_values(type_, text, value):
    assert type_.convert(text, None, None) == value


@pytest.mark.parametrize(
    ("type_", "text", "message"),
    [
        (Slope(), "big", "not a valid float"),
        (ByteSize(), "much", "'much' is not a size such as 500MB or 4GB"),
        (ByteSize(), "-1GB", "not a size"),
        (Times(), "twice", "not a valid float"),
        (MeasureLimit(["dead", "noise"]), "cost=1", "Measures: dead, noise"),
        (MeasureLimit(["dead"]), "dead", "not a valid float"),
    ],
)
def test_values_that_are_refused(type_, text, message):
    with pytest.raises(click.BadParameter, match=message):
        type_.convert(text, None, None)
