"""`dovetail.metrics`, for who imports it as a module; it stands in `definition/`."""

from dovetail.definition.metrics import *  # noqa: F403
