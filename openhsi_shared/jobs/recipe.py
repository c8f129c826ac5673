"""The recipe of a job: what is to be done with which cubes.

::

    job = PipelineJob("flight_07", "radiance", processing_lvl=4, cal_path="cal.nc", stages=["bin_lines:n=2"])
    for cube in job.cubes():
        print(cube.get_ppid())
"""

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self

from openhsi_shared.errors import ArgumentError
from openhsi_shared.jobs.recipes import identity, serial
from openhsi_shared.jobs.recipes.arguments import ARGUMENTS, JobArguments
from openhsi_shared.jobs.recipes.checks import as_path
from openhsi_shared.near_names import nearest_name

if TYPE_CHECKING:
    from openhsi_shared.jobs.plan import CubePlan

__all__ = ["PipelineJob"]


class PipelineJob(JobArguments):
    """What is to be done with which cubes: frozen, picklable, and JSON. ArgumentError for what is invalid in itself.

    Nothing is read when it is made; `validate` looks at the files. Functions among `stages` may be lambdas, or be
    defined in a notebook. Arguments are those of `JobArguments`.
    """

    def cubes(self) -> list[Self]:
        """One job for each cube, with absolute paths: the file, and the target of its result.

        ArgumentError for a folder without cubes, for several cubes with one target, and for an input that is the
        result of another one; FileError for what does not exist. Opens no file.
        """
        from openhsi_shared.jobs.planning import targets  # not above: a worker process needs only the recipe

        return targets.cubes_of(self)

    def plan(self) -> "CubePlan":
        """All that is known before the pixels of its one cube are read; raises as `validate`, and UnknownKeyword."""
        from openhsi_shared.jobs.planning import plans as planning

        (only,) = self.replace(path_in=self.cube).cubes()
        return planning.plan_of(only)

    def validate(self) -> bool:
        """Check all before anything is touched: True, or the first error of the tree, with value and way out.

        Files (FileError), settings, levels (LevelError), the calibration, each stage against each cube
        (StageNotApplicable), room on the disk and the names of the results (SaveError), and memory (MemoryShortage).
        ArgumentError if a folder contains cubes of different kinds.
        """
        from openhsi_shared.jobs.planning import plans as planning

        planning.plans_of(self)
        return True

    # ---- identity ----

    def get_ppid(self, ret_hash: bool = False, ret_dict: bool = False) -> Any:
        """Identity of what is computed of its one cube: a text; with `ret_hash` (text, hash), with `ret_dict` parts.

        With both: (text, hash, parts). `gen|dat|cal|lvl|stage|...|err`, each part `code:key=value^key=value`. The hash
        is the SHA-256 of the text. Reads the checksums of a cube of this library, else all pixels. ArgumentError for a
        job of several cubes, of which each has an id: `[one.get_ppid() for one in job.cubes()]`.
        """
        from openhsi_shared.jobs.planning import plans as planning

        text, digest, parts = identity.ppid_of(self, planning.source_of(self))
        found = (text, *([digest] if ret_hash else []), *([parts] if ret_dict else []))
        return found if len(found) > 1 else text

    @classmethod
    def from_ppid(
        cls,
        ppid: str,
        path_in: str | os.PathLike[str] | Sequence[Any],
        path_out: str | os.PathLike[str] | None = None,
        *,
        known: Iterable[Any] = (),
        **options: Any,
    ) -> Self:
        """The job that has such an id, for an input; `options` are those that are no part of it, such as `cal_path`.

        `known`: functions and paths of reference files that it uses: an id contains only hashes of these.
        ArgumentError if the text is no id, is of another generation of the arithmetic, or a known one is missing.
        """
        return cls(path_in, path_out, **identity.values_of(ppid, known), **options)  # type: ignore[arg-type]

    # ---- JSON ----

    @classmethod
    def from_json(cls, source: str | os.PathLike[str], *, allow_functions: bool = False) -> Self:
        """The job of a JSON text, or of a file that contains one.

        ArgumentError for unknown keys, or a recipe of a newer version. `allow_functions`: load functions and stages of
        the user's, which executes code; else ArgumentError if it contains any.
        """
        values = serial.job_from_json(source, allow_functions=allow_functions)
        for name in values:
            if name not in ARGUMENTS:
                raise ArgumentError(
                    f"the recipe contains the unknown key {name!r}{nearest_name(name, ARGUMENTS)}: it is of another "
                    f"version, or is mistyped; expected some of {', '.join(ARGUMENTS)}"
                )
        if "path_in" not in values:
            raise ArgumentError("the recipe has no path_in: add the path of a cube, a folder, or a list of paths")
        return cls(**values)

    @classmethod
    def from_output(cls, path: str | os.PathLike[str], *, allow_functions: bool = False) -> Self:
        """The job that wrote a file, of any format. ArgumentError if no job did; FileError; as `from_json`."""
        path = as_path(path, "path")
        from openhsi_shared.jobs.outputs import attributes_of

        recipe = attributes_of(path).get("pipeline_job")
        if not isinstance(recipe, str):
            raise ArgumentError(
                f"{path} contains no recipe (attribute pipeline_job): it is not the result of a job; use "
                f"PipelineJob(...), or a recipe as JSON"
            )
        return cls.from_json(recipe, allow_functions=allow_functions)
