"""Conditions as texts."""

import pytest

from openhsi_shared.channels.gps_fields import FIELDS
from openhsi_shared.channels.properties import ChannelProperties, Field
from openhsi_shared.errors import ArgumentError
from openhsi_shared.recording.channel_conditions import ChannelCondition

CHANNELS = {
    "lamp": ChannelProperties(name="lamp", fields=(Field("value"),)),
    "HSI:x y": ChannelProperties(name="HSI:x y", fields=(Field("value"),)),
    "gps": ChannelProperties(name="gps", fields=FIELDS),
}
VALUES = {"lamp": 4.0, "HSI:x y": -2.0, "gps.altitude": 120.0, "gps_speed": float("nan"), "gps.roll": None}


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("lamp > 3.5", True),
        (" lamp<=3.5 ", False),
        ("3 < lamp < 5", True),
        ("3 < lamp < 4", False),
        ("lamp == 4 and 'HSI:x y' == -2e0", True),
        ("not (lamp > 3.5 or gps.altitude > 100)", False),
        ("lamp > gps.altitude", False),
        ("gps_speed > 1", None),
        ("gps_speed > 1 or lamp > 3", True),
        ("gps_speed > 1 and lamp > 30", False),
        ("not gps.roll != 0", None),
        ("gps.roll > 0 or lamp < 0", None),
        ("0 < gps.roll < -1 < lamp", None),
    ],
)
def test_what_is_not_known_may_not_matter(text: str, answer: bool | None) -> None:
    condition = ChannelCondition(text)
    condition.check(CHANNELS)
    assert condition.holds(VALUES.__getitem__) is answer


def test_a_mark_is_a_condition() -> None:
    assert ChannelCondition("mark").is_mark
    assert not ChannelCondition("mark > 1").is_mark, "a channel of this name"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no condition"),
        ("lamp", "'lamp' is no comparison"),
        ("lamp >", "is no condition: invalid syntax"),
        ("lamp > 3 +", "is no condition: invalid syntax"),
        ("3 < 4", "'3 < 4' compares no channel"),
        ("lamp > 1j", "'1j' is neither a channel nor a number"),
        ("lamp > True", "'True' is neither a channel nor a number"),
        ("lamp + 1 > 2", r"'lamp \+ 1' is neither a channel nor a number"),
        ("lamp in (1, 2)", "another comparison than <, <="),
        ("lamp is 4", "another comparison than <, <="),
        ("__import__('os').system('touch x') > 0", "is neither a channel nor a number"),
        ("lamp > 3; lamp", "is no condition"),
        ("lamp := 3", "is no condition"),
        ("[x for x in lamp] > 3", "is neither"),
        ("gps.a.b > 3", "is neither"),
        ("lamp > 3" + " or lamp > 3" * 100, "it has 1208 characters, 1000 at most"),
        ("(" * 400 + "lamp > 3" + ")" * 400, "is no condition"),
        ("lamp \0> 3", "is no condition"),
        (3.5, "save_when must be a callable, or a text"),
    ],
)
def test_what_is_no_condition_is_refused_before_anything_begins(text: object, words: str) -> None:
    with pytest.raises(ArgumentError, match=words) as refused:
        ChannelCondition(text)  # type: ignore[arg-type]
    assert "such as 'lamp > 3.5'" in str(refused.value)


def test_a_channel_that_there_is_not_is_named_with_the_nearest() -> None:
    with pytest.raises(
        ArgumentError, match=r"there is no channel 'lmap' \(did you mean lamp\?\); expected one of lamp"
    ):
        ChannelCondition("lmap > 3").check(CHANNELS)
    with pytest.raises(ArgumentError, match=r"channel 'gps' has several values; expected one of .*gps\.altitude"):
        ChannelCondition("gps > 3").check(CHANNELS)
    with pytest.raises(ArgumentError, match="the channels, of which there are none"):
        ChannelCondition("lamp > 3").check({})
