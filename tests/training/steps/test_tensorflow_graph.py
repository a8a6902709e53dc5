"""TensorFlow: what the graph of a step is made of, and how variables are read."""

import keras
import numpy as np
import pytest
from helpers import Alternate, compiled, fit, vectors

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow's graph")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_each_kind_of_batch_is_one_operation_of_the_graph(jit_compile):
    import tensorflow as tf

    model = compiled(Alternate(), jit_compile=jit_compile)
    fit(model)
    step = tf.function(lambda: model.train_step(tuple(map(tf.constant, vectors(8)))))
    graph = step.get_concrete_function().graph.as_graph_def()
    functions = {function.signature.name: function for function in graph.library.function}
    (choice,) = (node for node in graph.node if node.op == "Case")
    assert len(choice.attr["branches"].list.func) == 2
    for branch in choice.attr["branches"].list.func:
        body = functions[branch.name].node_def
        calls = [functions[node.attr["f"].func.name] for node in body if node.op == "StatefulPartitionedCall"]
        assert [call.attr["_noinline"].b for call in calls] == ([] if jit_compile else [True])
        assert ("MatMul" in {node.op for node in body}) == jit_compile


def test_reading_a_widened_weight_copies_nothing():
    """TensorFlow copies a variable at each look once a slice of it has been assigned."""
    import tensorflow as tf

    model = compiled(Alternate())
    fit(model)
    model.sync()
    for entry in model.weights_map.entries:
        tensors = [tf.convert_to_tensor(entry.motivated.value) for _ in range(2)]
        first, second = (np.from_dlpack(tensor).__array_interface__["data"][0] for tensor in tensors)
        assert first == second


def test_a_widened_embedding_has_a_sparse_gradient():
    """As a stock one has: optimizers compute something else for it than for a dense one."""
    import tensorflow as tf

    from keras_motivation.nesting.placement import Placement

    inner, outer = tf.Variable(tf.ones((3, 2))), tf.Variable(tf.zeros((5, 4)))
    with tf.GradientTape() as tape:
        table = Placement((slice(0, 3), slice(0, 2)), (5, 4)).place(inner, outer)
        loss = tf.reduce_sum(tf.gather(table, [0, 2, 2, 4]))
    gradient = tape.gradient(loss, inner)
    assert isinstance(gradient, tf.IndexedSlices)
    np.testing.assert_array_equal(tf.convert_to_tensor(gradient), [[1, 1], [0, 0], [2, 2]])
