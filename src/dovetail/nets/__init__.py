"""Nets, one module each, with a function `net(inputs, num_classes, is_training, data_format)`.

Find one by its dotted name: `importlib.import_module("dovetail.nets.resnet32").net`.
"""
