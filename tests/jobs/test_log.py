"""The log of a job: records of its threads, and of no others."""

import logging
import threading

import pytest

from openhsi_shared.jobs.running.log import MAX_CHARS, JobLog, versions
from openhsi_shared.loggers import must_not_block, safe_logger

logger = safe_logger("openhsi_shared.jobs.anything")
package_logger = logging.getLogger("openhsi_shared")


@pytest.fixture
def thread_ids():
    return {threading.get_ident()}


def _in_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments)
    thread.start()
    thread.join()


def test_two_jobs_in_one_program_do_not_mix(thread_ids):
    theirs: set[int] = set()

    def other():
        must_not_block()  # another thread calls the handlers
        theirs.add(threading.get_ident())
        logger.warning("of the other job")
        theirs.clear()

    with JobLog(thread_ids, logging.INFO) as ours, JobLog(theirs, logging.INFO) as log_of_other:
        logger.info("of this %s", "job")
        _in_thread(other)
        _in_thread(logger.warning, "of no job")
    logger.warning("after the end")
    assert ours.text.endswith("INFO openhsi_shared.jobs.anything: of this job")
    assert log_of_other.text.endswith("WARNING openhsi_shared.jobs.anything: of the other job")
    assert len([*ours.text.splitlines(), *log_of_other.text.splitlines()]) == 2


def test_the_level_is_the_lowest_of_all_jobs_until_each_ends(thread_ids):
    before = package_logger.level
    first, second = JobLog(thread_ids, logging.DEBUG), JobLog(thread_ids, logging.INFO)
    with second:
        assert package_logger.level == logging.INFO
        with first:
            logger.debug("detail")
        assert package_logger.level == logging.INFO
        logger.debug("detail")
    assert package_logger.level == before
    with first:  # they may end in any order
        second.__enter__()
    assert package_logger.level == logging.INFO
    second.__exit__(None, None, None)
    assert package_logger.level == before
    assert (first.text.count("detail"), second.text) == (1, "")


def test_a_level_that_is_lower_already_stays(thread_ids):
    package_logger.setLevel(logging.DEBUG)
    try:
        with JobLog(thread_ids, logging.WARNING) as log:
            assert package_logger.level == logging.DEBUG
            logger.info("not of interest")
    finally:
        package_logger.setLevel(logging.NOTSET)
    assert log.text == ""


def test_a_log_of_endless_warnings_has_an_end(thread_ids):
    with JobLog(thread_ids, logging.INFO) as log:
        for _ in range(3):
            logger.warning("x" * MAX_CHARS)
        assert log.text == "further records are not kept"
        log.restart("planned")
        logger.warning("of the next cube")
    assert log.text.startswith("planned\n")
    assert log.text.endswith("of the next cube")


def test_versions_name_what_computes():
    assert all(name in versions() for name in ("openhsi_shared 0", "numpy", "Python 3"))
