"""`dovetail.optimizers`, for who imports it as a module; it stands in `definition/`."""

from dovetail.definition.optimizers import *  # noqa: F403
