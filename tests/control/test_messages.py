"""Messages of the control socket: each end decodes what the other one encoded, or raises the reason."""

import json
import math
import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest

from openhsi_shared.control import messages
from openhsi_shared.control.analysis_status import AnalysisStatus
from openhsi_shared.control.messages import (
    ANSWERS,
    REQUESTS,
    AnalysisNow,
    AskAnalysis,
    AskGlance,
    AskPublished,
    AskSlots,
    AskStatus,
    Glance,
    Mark,
    Marked,
    ParameterSet,
    Pause,
    PauseNow,
    PublishedNow,
    Refused,
    Resume,
    SetParameter,
    StatusNow,
    Stop,
    Stopping,
    decode,
    encode,
)
from openhsi_shared.errors import RecordingError
from openhsi_shared.frames.losses import IdRange
from tests.support.control import RECORDING_STATUS, SLOTS, STATUS, glance

ANALYSIS = AnalysisStatus(name="ndvi", mode="tap", state="running", rates=(5.0,), age_s=0.5)
ALL_ANSWERS = [
    StatusNow(STATUS),
    StatusNow(RECORDING_STATUS),
    glance(lost_ids=(IdRange(1, 1), IdRange(5, 9)), n_gaps=7),
    replace(glance(), status=RECORDING_STATUS, phase="ended", ended_by="CameraLost: 'unplugged'\n"),
    SLOTS,
    replace(SLOTS, about=replace(SLOTS.about, kind="camera", wavelengths_nm=None, full_scale=4095)),
    Stopping(),
    PublishedNow(),
    AnalysisNow(replace(ANALYSIS, skipped_ids=(IdRange(3, 4),)), {"till_x": "3", "poni": "/wA="}),
    Marked(),
    PauseNow(True),
    ParameterSet(5, 1_790_000_000_000_000_000, "ab12"),
    Refused("the camera is closed"),
]
ALL_REQUESTS = [
    AskStatus(),
    AskGlance(),
    AskSlots(),
    Stop(),
    Mark("start of line 3\n", 1_790_000_000_000_000_000),
    Pause(),
    Resume(),
    AskPublished(512, 9),
    AskAnalysis(),
    SetParameter("a", "\xff"),
]


@pytest.mark.parametrize("answer", ALL_ANSWERS, ids=lambda answer: type(answer).__name__)
def test_each_answer_is_read_as_it_was_written(answer):
    line = encode(answer)
    assert line.count(b"\n") == 1
    again = decode(line, ANSWERS)
    assert again == answer
    assert encode(again) == line
    if isinstance(answer, StatusNow | Glance):
        assert type(again.status) is type(answer.status)


@pytest.mark.parametrize("asked", ALL_REQUESTS, ids=lambda asked: type(asked).__name__)
def test_each_request_is_read_as_it_was_written(asked):
    assert decode(encode(asked), REQUESTS) == asked


def test_every_type_has_a_test():
    assert {type(answer).__name__ for answer in ALL_ANSWERS} == set(ANSWERS)
    assert {type(asked).__name__ for asked in ALL_REQUESTS} == set(REQUESTS)
    assert all(asked.answer_type in ANSWERS.values() for asked in REQUESTS.values())


def test_what_is_not_known_and_what_never_ends_travels_too():
    status = replace(STATUS, writer_mb_per_s=math.nan, rate=math.inf)
    again = decode(encode(StatusNow(status)), ANSWERS).status
    assert math.isnan(again.writer_mb_per_s)
    assert again.rate == math.inf


def test_numbers_of_numpy_travel_as_numbers():
    status = replace(STATUS, lines=np.int64(5), temperature=np.float32(0.5), lost_ids=(IdRange(np.int64(3), 4),))
    again = decode(encode(StatusNow(status)), ANSWERS).status
    assert (again.lines, again.temperature, again.lost_ids) == (5, 0.5, (IdRange(3, 4),))
    with pytest.raises(TypeError, match="cannot be sent"):
        encode(Refused(object()))


def test_another_version_is_refused_with_both_and_what_to_do(monkeypatch):
    monkeypatch.setattr(messages, "VERSION", 99)
    newer = encode(StatusNow(STATUS))
    monkeypatch.undo()
    expected = (
        r"the other program uses version 99 of the control socket, this one version 6: use the same openhsi_shared"
    )
    with pytest.raises(RecordingError, match=expected):
        decode(newer, ANSWERS)
    with pytest.raises(RecordingError, match="version '3'"):
        decode(b'{"version": "3", "whatever": "comes then"}', ANSWERS)


def test_a_type_that_is_not_known_is_refused_with_those_that_are():
    with pytest.raises(RecordingError, match=r"unknown message 'Flag' .* one of AskStatus, AskGlance, AskSlots, "):
        decode(b'{"version": 6, "type": "Flag", "fields": {"text": "here"}}', REQUESTS)
    with pytest.raises(RecordingError, match="unknown message 'StatusNow'"):
        decode(encode(StatusNow(STATUS)), REQUESTS)
    with pytest.raises(RecordingError, match=r"unknown message \[\]"):
        decode(b'{"version": 6, "type": []}', REQUESTS)


def changed(message, change):
    envelope = json.loads(encode(message))
    change(envelope["fields"])
    return json.dumps(envelope).encode()


@pytest.mark.parametrize(
    ("message", "change", "expected"),
    [
        (glance(), lambda fields: fields.pop("n_gaps"), "invalid Glance: n_gaps: Field required"),
        (glance(), lambda fields: fields["status"].pop("rate"), r"invalid Glance: status\..*rate: Field required"),
        (glance(), lambda fields: fields.update(phase="asleep"), "invalid Glance: phase: Input should be 'running'"),
        (glance(), lambda fields: fields.update(program_id="one"), "invalid Glance: program_id: .*integer"),
        (Stopping(), lambda fields: fields.update(soon=True), "invalid Stopping: soon: Unexpected"),
        (SLOTS, lambda fields: fields["about"].update(levle=1), r"invalid Slots: about\.levle: Unexpected"),
        (SLOTS, lambda fields: fields["export"]["layout"].update(n_slots=1), "invalid Slots: .*n_buffers must be 2"),
    ],
)
def test_a_field_that_is_missing_or_wrong_is_named(message, change, expected):
    with pytest.raises(RecordingError, match=expected):
        decode(changed(message, change), ANSWERS)


@pytest.mark.parametrize(
    "line",
    [b"", b"\n", b"hello\n", b"[]", b"7", b"null", b"{}", b"\xff\xfe\n", b'"version"', b"[" * 100_000, b'{"a": 1}'],
)
def test_garbage_is_refused(line):
    with pytest.raises(RecordingError, match="is not a message of the control socket"):
        decode(line, REQUESTS)


@pytest.mark.parametrize("fields", [None, [], 7, "text"])
def test_fields_that_are_none_are_refused(fields):
    line = json.dumps({"version": 6, "type": "AskStatus", "fields": fields}).encode()
    with pytest.raises(RecordingError, match="invalid AskStatus"):
        decode(line, REQUESTS)


def test_a_request_with_fields_needs_no_more_than_its_type():
    @dataclass(frozen=True)
    class Mark(messages.Request[Stopping]):
        text: str
        answer_type = Stopping

    assert decode(encode(Mark("shore")), {"Mark": Mark}) == Mark("shore")


def test_a_status_is_pickled_as_plain_numbers_and_is_the_same_afterwards():
    status = replace(RECORDING_STATUS, lost_ids=(IdRange(3, 5), IdRange(9, 9)))
    text = pickle.dumps(status)
    assert b"IdRange" not in text, "each would be called while the interpreter's lock is held"
    again = pickle.loads(text)
    assert again == status
    assert again.lost_ids[0].last == 5
