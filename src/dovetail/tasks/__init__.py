"""Tasks, one module each, with a function `build(config, net)` that makes the task's modeler.

Find one by its dotted name: `importlib.import_module("dovetail.tasks.image_classification")`.
"""
