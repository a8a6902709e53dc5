"""Data for the image experiments: pixels from 0 to 255 and labels, from other packages or from a file."""

import keras
import numpy as np


def load(data: str, examples: int | None = None, image_size: int | None = None) -> tuple[np.ndarray, ...]:
    """Loads training and test data.

    Args:
        data: "digits" (scikit-learn's, 1280 training images of 8x8), "cifar10" or "cifar100" (`keras.datasets`), or the
            path of an `.npz` with the arrays `x_train`, `y_train`, `x_test`, `y_test`.
        examples: How many training images to take, beginning with the first; all if `None`.
        image_size: Side to which the images are averaged down. It must divide their side.

    Returns:
        `x_train`, `y_train`, `x_test`, `y_test`.
    """
    if data == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = np.random.default_rng(0).permutation(len(digits.images))
        x, y = digits.images[order, ..., None] * (255 / 16), digits.target[order]
        parts = x[:1280], y[:1280], x[1280:], y[1280:]
    elif data.endswith(".npz"):
        with np.load(data) as file:
            parts = file["x_train"], file["y_train"], file["x_test"], file["y_test"]
    else:
        (x_train, y_train), (x_test, y_test) = getattr(keras.datasets, data).load_data()
        parts = x_train, y_train, x_test, y_test
    images = [smaller(x[:n], image_size).astype("float32") for x, n in ((parts[0], examples), (parts[2], None))]
    return images[0], parts[1][:examples].ravel(), images[1], parts[3].ravel()


def smaller(x: np.ndarray, side: int | None) -> np.ndarray:
    """Images averaged over squares of pixels."""
    if side is None or side == x.shape[1]:
        return x
    if x.shape[1] % side:
        raise ValueError(f"Argument `image_size` must divide the images' side, {x.shape[1]}. Received: {side}")
    step = x.shape[1] // side
    return x.reshape(len(x), side, step, side, step, -1).mean((2, 4))
