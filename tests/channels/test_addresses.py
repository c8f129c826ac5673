"""Channels given as text, mapping or TOML file."""

import pytest

from openhsi_shared.channels import CallbackChannel, Channel, channel_from_text, channels_from
from openhsi_shared.channels.addresses import SOURCES, source_kinds
from openhsi_shared.errors import ArgumentError, ChannelError, OpenHSIError, UnknownKeyword


def test_a_text_becomes_a_channel_with_its_keywords():
    channel = channel_from_text('sim:clock, rate=200, latency_s=0.05,clock=gps,script={"0": "nan", "5": "good"}', "a")
    properties = channel.properties
    assert (channel.signal, channel.rate, properties.latency_s, properties.clock) == ("clock", 200.0, 0.05, "gps")
    assert channel.script == ((0.0, "nan"), (5.0, "good"))
    assert (channel.name, channel.description) == ("a", "sim:clock")
    assert channel_from_text("sys:load,period_s=0.5", "b").period_s == 0.5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("simm:clock", "did you mean sim"),
        ("clock", "no known kind"),
        ("", "no known kind"),
        ("sim:clok", "did you mean clock"),
        ("sim:clock,rat=5", "'rat' .did you mean rate"),
        ("sim:clock,rate=5,rate=6", "given twice"),
        ("sim:clock,rate=fast", "rate"),
        ("sim:clock,unit=3", "unit"),
        ("sys:load,function=3", "'function'"),
        ("sim:clock,source=me", "'source'"),
        ("sim:clock,script=5", "script must map seconds to faults"),
        ("gpsd:host:abc", "a number as port"),
        (5, "a source is a text"),
    ],
)
def test_a_text_that_is_none_is_one_clear_error(text, words):
    with pytest.raises(OpenHSIError, match=words):
        channel_from_text(text, "a")


def test_a_mapping_has_channels_texts_and_tables():
    pushed = CallbackChannel("pushed")
    found = channels_from({"pushed": pushed, "a": "sim:sine", "b": {"source": "sim:ramp", "rate": 5}})
    assert found["pushed"] is pushed
    assert [channel.name for channel in found.values()] == ["pushed", "a", "b"]
    assert found["b"].rate == 5.0
    assert channels_from(None) == {}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"other": CallbackChannel("pushed")}, "same name"),
        ({"a": 5}, "must be a Channel, or a text"),
        ({"a": {"sorce": "sim:sine"}}, "did you mean source"),
        ({"a": {}}, "has no source"),
        ({"a": {"source": "sim:sine", "raet": 5}}, "did you mean rate"),
        ({"a": {"source": "sim:sine,rate=5", "rate": 5}}, "given twice"),
        ([CallbackChannel("a")], "must be a mapping"),
        (5, "must be a mapping"),
    ],
)
def test_a_mapping_that_is_none_is_one_clear_error(given, words):
    with pytest.raises(OpenHSIError, match=words):
        channels_from(given)


def test_a_toml_file_has_tables(tmp_path):
    path = tmp_path / "channels.toml"
    path.write_text(
        '[channels.a]\nsource = "sim:sine"\nrate = 5\nrequired = false\n[channels.b]\nsource = "sys:load"\n'
    )
    found = channels_from(path)
    assert (found["a"].rate, found["a"].properties.required) == (5.0, False)
    assert found["b"].description == "sys:load"
    assert channels_from(str(path)).keys() == found.keys()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[channel.a]\nsource='sim:sine'", "did you mean channels"),
        ("[channels.a]\nsorce='sim:sine'", "did you mean source"),
        ("[channels.a]\nsource='sim:sine'\nlatency=3", "did you mean latency_s"),
        ("[channels]\na='x'", "no known kind"),
        ("channels = 5", "has no channels"),
        ("", "has no channels"),
        ("[channels", "is no TOML"),
    ],
)
def test_a_toml_file_that_is_none_names_the_file_and_the_key(tmp_path, text, words):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(OpenHSIError, match=words) as raised:
        channels_from(path)
    assert "mine.toml" in str(raised.value)


def test_a_toml_file_that_does_not_exist_is_one_clear_error(tmp_path):
    with pytest.raises(ChannelError, match=r"none\.toml cannot be read: No such file"):
        channels_from(tmp_path / "none.toml")


def test_sources_of_other_packages_are_found_by_their_entry_points(tmp_path, monkeypatch):
    (tmp_path / "other-1.dist-info").mkdir()
    points = "[openhsi_shared.channels]\nmine = other_source:make\nbroken = other_source:none\nno = other_source:no\n"
    (tmp_path / "other-1.dist-info" / "entry_points.txt").write_text(points)
    (tmp_path / "other-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1\n")
    (tmp_path / "other_source.py").write_text(
        "from openhsi_shared.channels import Channel\n"
        "def make(rest, name, *, speed=1, **keywords):\n    return Channel(name, source=f'mine:{rest}', **keywords)\n"
        "def no(rest, name):\n    return rest\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    channel = channel_from_text("mine:x,speed=3,rate=5", "a")
    assert isinstance(channel, Channel)
    assert (channel.description, channel.properties.rate) == ("mine:x", 5)
    with pytest.raises(UnknownKeyword, match="did you mean speed"):
        channel_from_text("mine:x,sped=3", "a")
    with pytest.raises(ChannelError, match="cannot be loaded"):
        channel_from_text("broken:x", "a")
    with pytest.raises(ChannelError, match="expected a Channel"):
        channel_from_text("no:x", "a")
    assert {"mine", *SOURCES} <= set(source_kinds())


def test_names_that_clash_in_the_file_are_refused_before_anything_starts():
    with pytest.raises(ArgumentError, match="exists in every file"):
        channels_from({"time": "sim:sine"})
