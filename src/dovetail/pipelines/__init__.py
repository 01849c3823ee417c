"""Programs in pipelines: what the actions of a batch do with a Dovetail program.

`save` and `load` keep a program in a folder with the layout of a model_dir; `program_of` makes
that of a finished run.
"""

from dovetail.pipelines.stored import load, program_of, save

__all__ = ["load", "program_of", "save"]
