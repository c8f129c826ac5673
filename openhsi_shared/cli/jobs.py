"""`openhsi-shared jobs`: the stages of jobs, with their parameters."""

import dataclasses
import inspect

import click

from openhsi_shared.cli.output import echo

__all__ = ["jobs"]


@click.command()
@click.argument("codes", metavar="[CODE]...", nargs=-1)
def jobs(codes: tuple[str, ...]) -> None:
    """List the stages of `openhsi-shared process --stage CODE:key=value,...`, or describe the given ones."""
    from openhsi_shared.jobs.stages.registry import all_stages, class_of_stage, parameters_of

    found = {code: class_of_stage(code) for code in codes} if codes else all_stages()
    for code, stage in found.items():
        summary = (inspect.getdoc(stage) or "").splitlines()
        parameters = [_in_words(field) for field in parameters_of(stage).values()]
        echo(f"{code}:{','.join(parameters)}" if parameters else code)
        for line in summary if codes else summary[:1]:
            echo(f"    {line}" if line else "")


def _in_words(field: "dataclasses.Field[object]") -> str:
    if field.default is not dataclasses.MISSING:
        return f"{field.name}={'none' if field.default is None else field.default}"
    return f"{field.name}=..."
