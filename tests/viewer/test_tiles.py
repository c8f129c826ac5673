"""The tiles with the key figures."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from openhsi_shared.buffers.slot_memory import SlotState
from openhsi_shared.buffers.tap import SlotStatus
from openhsi_shared.frames.losses import IdRange
from openhsi_shared.viewer.feed import facts_of
from openhsi_shared.viewer.tiles import Numbers, head, losses, minutes, tiles
from tests.support.control import ABOUT, RECORDING_STATUS, glance

LIVE = Numbers(shown_per_s=480.0, age_s=0.123, is_frozen=False)


def tile(html, kind):
    """(rating, text) of one tile."""
    found = re.search(rf'<div class="tile {kind} (\w*)">(.*?)</div></div>', html)
    return found[1], " ".join(re.sub("<[^>]+>", " ", found[2]).split())


def test_each_number_has_its_tile():
    html = tiles(glance(), [], 100, LIVE)
    assert tile(html, "captured") == ("good", "captured 499 /s 480 /s on this screen")
    assert tile(html, "lost") == ("good", "lines lost 0 none")
    assert tile(html, "lines") == ("", "lines 12,345 12 saved, 1 pending")
    assert tile(html, "writer") == ("", "writer 812 MB/s to the disk")
    assert tile(html, "disk") == ("", "disk left 61 min at this rate")
    assert tile(html, "age") == ("good", "age on screen 123 ms of the newest line")


def test_a_lost_line_is_bad_and_its_id_is_told():
    seen = glance(lines_lost=4, lines=396, lost_ids=(IdRange(7, 7), IdRange(20, 22)), n_gaps=5)
    assert tile(tiles(seen, [], 100, LIVE), "lost") == ("bad", "lines lost 4 1 % of all")
    assert "newest first: 20-22, 7 and 3 earlier gaps" in losses(seen)
    assert losses(glance()) == ""


def test_of_many_gaps_the_newest_are_told():
    told = losses(glance(lost_ids=tuple(IdRange(k, k) for k in range(0, 200, 2)), n_gaps=1100))
    assert "198, 196," in told
    assert "120 and 1,060 earlier gaps" in told


def test_a_save_that_failed_is_told_and_cannot_write_html():
    assert "disk &lt;full&gt;" in losses(glance(errors=("disk <full>",)))
    assert "/data/&lt;flight&gt;" in head("running", ABOUT, glance())


@pytest.mark.parametrize(
    ("left", "judged", "told"), [(3.21, "bad", "3.2 min"), (1e9, "", "9999 h"), (math.inf, "", "–")]
)
def test_a_disk_that_is_full_soon_is_bad(left, judged, told):
    assert tile(tiles(glance(disk_minutes_left=left), [], 9, LIVE), "disk") == (
        judged,
        f"disk left {told} at this rate",
    )
    assert "<small>h</small>" in minutes(1000)


def test_slots_show_their_state_and_how_full_they_are():
    slots = [SlotStatus(0, SlotState.FILLING, 3, 25, 0), SlotStatus(1, SlotState.SAVING, 2, 100, 0)]
    html = tiles(glance(), slots, 100, LIVE)
    assert tile(html, "slots")[1] == "memory filling saving slots, one cube each"
    assert "height:25%" in html
    assert "height:100%" in html
    many = [SlotStatus(k, SlotState.FREE, 0, 0, 0) for k in range(9)]
    assert "9 of 9 free" in tile(tiles(glance(), many, 100, LIVE), "slots")[1]


def test_an_old_picture_is_warned_about_unless_it_is_frozen_or_over():
    assert tile(tiles(glance(), [], 9, LIVE._replace(age_s=3.0)), "age")[0] == "warn"
    assert tile(tiles(glance(), [], 9, LIVE._replace(age_s=3.0, is_frozen=True)), "age") == (
        "good",
        "age on screen frozen of the newest line",
    )
    over = tiles(glance(), [], 9, LIVE._replace(age_s=3.0, is_over=True))
    assert tile(over, "captured")[1].startswith("captured –")
    assert tile(over, "age")[0] == "good"


def test_what_is_not_known_yet_is_a_dash():
    html = tiles(glance(writer_mb_per_s=math.nan, disk_minutes_left=math.nan), [], 9, Numbers(0.0, math.nan, False))
    assert tile(html, "writer")[1] == "writer – to the disk"
    assert tile(html, "disk")[1] == "disk left – at this rate"
    assert tile(html, "age")[1] == "age on screen – of the newest line"


def test_the_head_shows_the_state_and_what_ended_it():
    assert "RECORDING" in head("running", ABOUT, glance())
    assert "CAMERA" in head("running", replace(ABOUT, kind="camera"), glance())
    ended = head("ended", ABOUT, glance(lines=1200, lines_lost=3, ended_by="CameraLost: unplugged"))
    assert "ENDED" in ended
    assert "1,200 lines, 3 lost · CameraLost: unplugged" in ended
    assert "its process has terminated" in head("died", ABOUT, glance())


def test_a_line_tells_of_exposure_and_focus():
    blurred = np.repeat(np.linspace(100, 1000, 64)[:, None], 8, axis=1).astype(np.uint16)
    sharp = np.where(np.arange(64)[:, None] % 2, 1000, 100).repeat(8, axis=1).astype(np.uint16)
    assert facts_of(sharp, 4095).focus > 10 * facts_of(blurred, 4095).focus
    sharp[0] = 4095
    facts = facts_of(sharp, 4095)
    assert facts.share_saturated == pytest.approx(1 / 64)
    assert facts.counts.sum() == sharp.size
    assert math.isnan(facts_of(sharp.astype(np.float32), None).share_saturated)
    facts = facts_of(np.full((4, 8), np.nan, np.float32), None)
    assert (facts.counts.sum(), facts.focus) == (0, 0.0)


def test_a_recording_that_is_paused_says_so():
    paused = replace(glance(), status=replace(RECORDING_STATUS, is_paused=True))
    assert ">PAUSED<" in head("running", ABOUT, paused)
    assert ">ENDED<" in head("ended", ABOUT, paused)
