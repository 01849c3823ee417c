"""`dovetail prepare`: files become records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from dovetail.cli.verb import verb

if TYPE_CHECKING:
    from dovetail.run.progress import Progress

_SHOWN_FAILURES = 10


@verb()
def prepare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[MODEL] GLOB",
            help="A model file, which --reader can do without; then files, or patterns of them "
            "in quotes: 'images/train/*/*.png', 'data/**/*.csv'.",
        ),
    ],
    output: Annotated[
        str | None, typer.Option("--output", metavar="DIR", help="Where the records go.")
    ] = None,
    reader: Annotated[
        str | None,
        typer.Option(
            "--reader",
            metavar="NAME",
            help="The format: image_folder, image_table, mnist, cifar10, cifar100, npz, tfrecord, "
            "csv, parquet, arrow, text_lines or text_folder.",
        ),
    ] = None,
    reader_option: Annotated[
        list[str] | None,
        typer.Option(
            "--reader-option", metavar="K=V", help="One of the reader's options; may be repeated."
        ),
    ] = None,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema", metavar="FILE", help="What to store: a list as --show-schema prints it."
        ),
    ] = None,
    show_schema: Annotated[
        bool,
        typer.Option("--show-schema", help="Print what would be stored, as YAML, and stop."),
    ] = False,
    on_error: Annotated[
        str,
        typer.Option(
            "--on-error",
            metavar="stop|skip|N",
            help="A file that can't be read: stop, leave it out, or leave out at most N; stop.",
        ),
    ] = "stop",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", metavar="N", min=1, help="Processes that read; as many as pay off."
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the records that are there.")
    ] = False,
    append: Annotated[
        bool,
        typer.Option(
            "--append",
            help="Add to the records that are there: files that are in them already are left out. "
            "Killed and given again, it adds each row once.",
        ),
    ] = False,
    compression: Annotated[
        str | None,
        typer.Option(
            "--compression",
            metavar="lz4|zstd",
            help="Store compressed: smaller, and slower to read. Not for speed.",
        ),
    ] = None,
    classes_from: Annotated[
        str | None,
        typer.Option(
            "--classes-from",
            metavar="RECORDS",
            help="Number the classes of image folders as in these records.",
        ),
    ] = None,
) -> None:
    """Read files into records, in several processes.

    They are read by --reader, or by the model file's custom_data_reader or
    prepare_data_for_a_single_file; else they are images, a folder a class.
    What is kept is as --schema says, or data_schema, or the reader.

    Killed, it goes on from there when the same command is given again.
    With --append the rows join those in DIR, whose schema and classes they
    take where none are named.

    Example:
        dovetail prepare digits.py 'demo/digits/train/*/*.png' --output demo/new
    """
    from dovetail.cli.prepare_readers import chosen
    from dovetail.data import prepare as data_prepare
    from dovetail.data.failures import allowed_failures
    from dovetail.data.records import Records

    model, files = split_words(words, reader)
    if output is None and not show_schema:
        raise typer.BadParameter("say where the records go: --output DIR.", param_hint="'--output'")
    allowed_failures(on_error)
    if append and (overwrite or output is None):
        other = "--overwrite replaces them" if overwrite else "--output says which"
        raise typer.BadParameter(f"it adds to records; {other}.", param_hint="'--append'")
    joins = output if append else None
    read, stored = chosen(model, reader, reader_option or [], schema, classes_from, joins)
    if show_schema:
        _show_schema(files, read, stored)
        return
    assert output is not None
    before = Records(output).manifest.rows if append else None
    with _Shown() as progress:
        data_prepare.prepare(
            files,
            output,
            stored,
            read,
            workers=workers,
            overwrite=overwrite,
            append=append,
            on_error=on_error,
            compression=compression,
            progress=progress,
        )
    _show_result(output, before)


def split_words(words: list[str], reader: str | None) -> tuple[str | None, list[str]]:
    """Tell the model file from the files: it comes first, and with a reader it ends in `.py`.

    Raises:
      typer.BadParameter: there is no pattern.

    >>> split_words(["digits.py", "*.png"], None), split_words(["*.csv"], "csv")
    (('digits.py', ['*.png']), (None, ['*.csv']))
    """
    has_model = reader is None or words[0].endswith(".py")
    model, files = (words[0], words[1:]) if has_model else (None, words)
    if not files:
        what = f"which files? {model} is taken for the model file" if model else "which files?"
        cure = "" if reader else ", as no --reader is named"
        raise typer.BadParameter(f"{what}{cure}.", param_hint="'GLOB...'")
    return model, files


def _show_schema(files: list[str], read: Any, stored: Any) -> None:
    from dovetail.cli.show import say
    from dovetail.data.prepare import rows_schema
    from dovetail.data.schema_file import to_yaml

    say(to_yaml(rows_schema(files, read) if stored is None else stored).rstrip())


def _show_result(output: str, before: int | None) -> None:
    from dovetail.cli.show import plural, say, shape, size
    from dovetail.data.failures import read_failures, reports
    from dovetail.data.records import Records

    records = Records(output)
    shards, added = records.manifest.shards, len(records) - (before or 0)
    say(
        f"{plural(len(records), 'record')} in {output} ({plural(len(shards), 'shard')}, "
        f"{size(records.manifest.bytes)}"
        + (f"; {plural(added, 'record')} added" if before is not None else "")
        + "):"
    )
    for field in records.schema.fields:
        say(f"  {field.name}: {field.dtype} {shape(field.shape)}")
    classes = records.metadata.get("classes")
    if classes:
        say(f"  classes: {', '.join(f'{i} {name}' for i, name in enumerate(classes))}")
    failures = read_failures(output)
    if failures:
        where = " and ".join(str(path) for path in reports(output))
        say(f"{plural(len(failures), 'file')} left out; {where} says why:")
        for failure in failures[:_SHOWN_FAILURES]:
            say(f"  {failure.reason}")
        if len(failures) > _SHOWN_FAILURES:
            say(f"  and {len(failures) - _SHOWN_FAILURES:,} more")


class _Shown:
    """Shows how many files are read, once it is known how many there are."""

    def __init__(self) -> None:
        self.progress: Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        from dovetail.run.progress import Progress

        if self.progress is None:
            every = max(total // 5, 1)  # five lines, where there is no bar
            self.progress = Progress(every=every, label="prepare", step_name="file")
            self.progress.start(done, total)
            if done:
                self.progress.note(f"going on after {done:,} files that are done already")
        else:
            self.progress.step(done)

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *error: object) -> None:
        if self.progress is not None:
            self.progress.close()
