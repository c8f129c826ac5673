"""What children of tests of ids run: apart from these tests, whose imports take a second."""

import pickle

from openhsi_shared.jobs import PipelineJob

OFFSET = 1


def plus_one(line):
    return line + OFFSET


def plus_two(line):
    return plus_one(plus_one(line))


def of_pickle(pickled):
    return pickle.loads(pickled).get_ppid()


def key_of_pickle(pickled):
    return pickle.loads(pickled)._key


def of_json(text):
    return PipelineJob.from_json(text, allow_functions=True).get_ppid()
