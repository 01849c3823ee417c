"""Handwritten digits as a data set: scikit-learn's, 8x8 pixels, and the actions on them."""

import numpy as np
from sklearn.datasets import load_digits

import dovetail


class Digits(dovetail.ImagesBatch):
    components = "images", "labels", "predicted"

    @dovetail.action
    def scaled(self):
        self.images = self.images.astype("float32") / 255
        return self


def dataset(batch_class=Digits):
    """The 1,797 digits, divided into 80% to train on and 20% to test with."""
    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    preloaded = {"images": images, "labels": digits.target.astype(np.int64)}
    made = dovetail.Dataset(len(images), batch_class, preloaded=preloaded)
    made.split(0.8, seed=1)
    return made
