"""Placing a base tensor inside a motivated one, against numpy."""

import keras
import numpy as np
from keras import ops

from keras_motivation.nesting.placement import Placement


def test_a_whole_placement_returns_the_base_itself():
    """No copy, no mask: an entry of equal shape costs nothing."""
    variable = keras.Variable(np.ones((2, 3), "float32"))
    placement = Placement((slice(None), slice(0, 3)), (2, 3))
    assert placement.whole
    np.testing.assert_array_equal(ops.convert_to_numpy(placement.place(variable.value, None)), np.ones((2, 3)))
