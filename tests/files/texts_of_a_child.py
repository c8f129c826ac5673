"""What a child reads of a cube whose texts are damaged: apart from its test, whose imports take longer."""

from openhsi_shared import open_cube
from openhsi_shared.errors import FileError


def look_at_texts(path):
    found = []
    for read in (
        lambda cube: cube.groups["gps"].variables["name"].data,
        lambda cube: cube.groups["gps"].attributes,
        lambda cube: cube.attributes,
    ):
        with open_cube(path) as cube:
            try:
                found.append(f"read {read(cube)}")
            except FileError as error:
                found.append(str(error))
    return found
