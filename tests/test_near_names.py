"""Which known name a mistyped one may mean."""

from openhsi_shared.near_names import nearest_name, nearest_or_all


def test_the_nearest_name_is_offered_only_if_it_is_near():
    assert nearest_name("exposure", ["exposure_ms"]) == " (did you mean exposure_ms?)"
    assert nearest_name("hgar", ["HgAr", "flat"]) == " (did you mean HgAr?)"
    assert nearest_name("colour", ["exposure_ms"]) == ""


def test_if_no_name_is_near_the_known_ones_are_listed():
    assert nearest_or_all("expsure", ["gain", "exposure"]) == ": did you mean 'exposure'?"
    assert nearest_or_all("x", ["gain", "exposure"]) == ": there are 'exposure', 'gain'"
    assert nearest_or_all("x", []) == ""
