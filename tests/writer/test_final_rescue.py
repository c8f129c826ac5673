"""No writer is left at exit: cubes that are still in memory are rescued."""

import uuid

import pytest

from openhsi_shared.files.dumping import read_dump
from openhsi_shared.files.recovering import recover
from openhsi_shared.save_options import SaveOptions
from openhsi_shared.writer.final_rescue import rescue
from openhsi_shared.writer.messages import CubeKind, Label
from tests.support.filler_bench import Bench
from tests.support.flow import CAMERA, account, cubes_in, parts_in, processes_in, run
from tests.support.helpers import wait_for
from tests.support.products import some

WITHOUT_WRITER = (
    CAMERA
    + """
import multiprocessing, psutil
def end_writers():
    multiprocessing.set_executable("/bin/false")
    for child in psutil.Process().children():
        if "spawn_main" in " ".join(child.cmdline()):
            child.kill()
usual = multiprocessing.spawn.get_executable()
cam = camera(n_buffers=4, OPTIONS)
cam.collect()
cam.save("out").join()
end_writers()
handles = []
for _ in range(2):
    cam.collect()
    handles.append(cam.save("out"))
    handles[-1].join()
"""
)
ASKED = """
for handle in handles:
    try:
        handle.result()
    except OSError as error:
        print(error)
"""


def _run(tmp_path, end, keywords=""):
    code, output, errors = run(WITHOUT_WRITER.replace("OPTIONS", keywords) + end, tmp_path)
    wait_for(lambda: not processes_in(tmp_path))
    return code, output, errors


@pytest.mark.parametrize("keywords", some("", all_of=("", "writers=2")))
def test_one_more_writer_is_tried_at_the_end(tmp_path, keywords):
    code, _, errors = _run(tmp_path, "multiprocessing.set_executable(usual)", keywords)
    assert code == 1, "nobody has asked for the failure"
    assert "no writer is left: starting a new one" in errors
    assert account(tmp_path / "out") == (list(range(24)), [])
    assert [cube.attributes["recovered"] for cube in cubes_in(tmp_path / "out")] == [0, 1, 1]
    assert not parts_in(tmp_path / "out")


def test_lines_of_a_program_that_fails_are_rescued_with_the_cubes_that_are_held(tmp_path):
    end = "multiprocessing.set_executable(usual)\ncam.collect(lambda n, _: n < 5 or 1 / 0)"
    code, _, errors = _run(tmp_path, end)
    assert code == 1
    assert "ZeroDivisionError" in errors
    assert account(tmp_path / "out") == (list(range(29)), [])


@pytest.mark.parametrize("asked", some(True, all_of=(True, False)))
def test_if_that_one_does_not_come_up_either_the_program_writes_the_bytes(tmp_path, asked):
    code, output, errors = _run(tmp_path, ASKED if asked else "")
    assert code == (0 if asked else 1)
    assert ("no writer starts" in output) is asked
    assert "cube 3: its lines are safe in" in errors
    assert account(tmp_path / "out") == (list(range(8)), [])
    assert len(recover(tmp_path / "out").published) == 2
    assert account(tmp_path / "out") == (list(range(24)), [])


@pytest.mark.parametrize(("keywords", "where"), [("", "temporary"), ("fallback_dirs=['spare']", "spare")])
def test_the_bytes_go_to_a_fallback_directory_where_their_own_is_gone(tmp_path, keywords, where):
    end = "import shutil\nshutil.rmtree('out/')\nopen('out', 'w').close()"
    _run(tmp_path, end, keywords)
    assert len(recover(tmp_path / where).published) == 2
    assert [cube.numbers for cube in cubes_in(tmp_path / where)] == [list(range(8, 16)), list(range(16, 24))]


def test_cubes_that_cannot_be_rescued_at_all_end_in_exit_status_1(tmp_path):
    end = """
import os, shutil
shutil.rmtree("out")
open("out", "w").close()
os.mkdir("temporary/openhsi_shared"); open("temporary/openhsi_shared/rescued", "w").close()
open(f"temporary/openhsi_shared-rescued-{os.getuid()}", "w").close()
"""
    code, _, errors = _run(tmp_path, ASKED + end)
    assert code == 1
    for cube in (2, 3):
        assert f"Not a directory: the lines of cube {cube} are lost: '{tmp_path}/out'" in errors


def test_a_writer_that_dies_of_the_rescue_does_not_take_the_lines_along(tmp_path):
    (tmp_path / "marks").mkdir()
    fault = {"OPENHSI_SHARED_FAULT": "piece:kill", "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks")}
    code, _, errors = run(
        f"{CAMERA}\ncam = camera(n_buffers=3)\ncam.collect()\ncam.save('out').join()", tmp_path, **fault
    )
    assert code == 1
    assert "6 writers died while saving it" in errors
    assert "cube 1: its lines are safe in" in errors
    assert len(recover(tmp_path / "out").published) == 1
    assert account(tmp_path / "out") == (list(range(8)), [])


def test_what_lies_in_a_dump_already_is_not_dumped_again(tmp_path):
    (tmp_path / "marks").mkdir()
    fault = {"OPENHSI_SHARED_FAULT": "half:kill", "OPENHSI_SHARED_FAULT_MARKS": str(tmp_path / "marks")}
    run(f"{CAMERA}\ncam = camera(n_buffers=3)\ncam.collect()\ncam.save('out').join()", tmp_path, **fault)
    assert len(list(tmp_path.rglob("*.raw"))) == 1


def test_a_directory_that_does_not_answer_is_not_tried(tmp_path, caplog):
    bench = Bench()
    for name in ("stuck", "spare"):
        (tmp_path / name).mkdir()
    bench.filler.label = Label(directory=str(tmp_path / "stuck"), prefix="pass_").as_bytes
    bench.take(5)
    bench.take(7)
    run_id = str(uuid.uuid4())
    kind = CubeKind(
        level=-1,
        run_id=run_id,
        options=SaveOptions(fallback_dirs=[tmp_path / "spare"]),
    )
    assert not rescue([], bench.slots, kind, avoid=[str(tmp_path / "stuck")]).lost
    assert "starting a new one" not in caplog.text, "it would hang there"
    assert not list((tmp_path / "stuck").iterdir())
    (sidecar,) = (tmp_path / "spare").rglob("pass_*.raw.json")
    cube = read_dump(sidecar).cube
    assert cube.memory[:, 0, 0].tolist() == cube.columns["frame_id"].tolist() == [5, 7]
    assert (cube.attributes["lost_frame_ids"], cube.attributes["recovered"]) == ("6", 1)
