"""States as plain data: of models by paths, of optimisers and metrics as values that functions take and give."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from gradloom import keras
from gradloom.errors import NotSupportedError
from gradloom.keras import layers, losses, metrics, optimizers
from gradloom.tensor import tensor

RNG = np.random.default_rng(8)
X, Y = RNG.normal(size=(16, 3)).astype(np.float32), RNG.normal(size=(16, 1)).astype(np.float32)


def compiled(optimizer="adam"):
    inputs = keras.Input((3,))
    model = keras.Model(inputs, layers.Dense(1, name="out")(inputs))
    model.compile(optimizer, loss="mse", metrics=["mae"])
    return model


def test_a_model_as_a_tree_of_values():
    keras.config.clear_session()
    model = compiled()
    model.fit(X, Y, batch_size=8, verbose=0)
    state = model.get_state_tree("numpy_array")
    assert set(state["trainable_variables"]["out"]) == {"kernel", "bias"}
    adam = state["optimizer_variables"]["adam"]
    assert adam["iteration"] == 2 and adam["learning_rate"] == np.float32(0.001)
    assert {"out_kernel_momentum", "out_bias_velocity"} <= set(adam)
    again = compiled(model.optimizer.__class__(0.5, name="adam"))
    again.set_state_tree(state)
    assert float(again.optimizer.learning_rate) == pytest.approx(0.001) and int(again.optimizer.iterations) == 2
    for a, b in zip(again.optimizer.variables, model.optimizer.variables):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    model.train_on_batch(X, Y)
    again.train_on_batch(X, Y)
    for a, b in zip(again.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("tree", "message"),
    [({"weights": {}}, "Unknown variable name"), ({"trainable_variables": {"out": {"scale": 1.0}}}, "no variable")],
)
def test_unknown_paths_are_refused(tree, message):
    with pytest.raises(ValueError, match=message):
        compiled().set_state_tree(tree)


def test_variables_of_one_path_are_refused():
    class Twice(keras.Model):
        def build(self, shape):
            self.a, self.b = self.add_weight((1,), name="w"), self.add_weight((1,), name="w")

        def call(self, x):
            return x * self.a + self.b

    model = Twice()
    model(X)
    with pytest.raises(ValueError, match="found twice"):
        model.get_state_tree()


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "rmsprop", "adagrad", "lion"])
def test_a_step_on_values_is_the_step_and_leaves_the_optimiser_alone(name):
    start, gradient = RNG.normal(size=(4, 2)).astype(np.float32), RNG.normal(size=(4, 2)).astype(np.float32)
    by_hand, on_values = keras.Variable(start), keras.Variable(start)
    first, second = optimizers.get(name), optimizers.get(name)
    second.build([on_values])
    values, state = [start], [v.numpy() for v in second.variables]
    for _ in range(3):
        first.apply([tensor(gradient)], [by_hand])
        values, state = second.stateless_apply(state, [tensor(gradient)], values)
    np.testing.assert_allclose(values[0].numpy(), by_hand.numpy(), rtol=1e-6)
    np.testing.assert_array_equal(on_values.numpy(), start)
    assert int(second.iterations) == 0
    for a, b in zip(state, first.variables):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-6)


def test_a_step_on_values_of_another_number_is_refused():
    optimizer, v = optimizers.SGD(), keras.Variable(np.zeros(2))
    with pytest.raises(ValueError, match="must be built"):
        optimizer.stateless_apply([], [v], [v])
    optimizer.build([v])
    with pytest.raises(ValueError, match="`trainable_variables` holds 2"):
        optimizer.stateless_apply(optimizer.variables, [v, v], [v, v])


def test_a_schedule_is_no_variable():
    optimizer = optimizers.Adam(optimizers.schedules.ExponentialDecay(0.1, 10, 0.5))
    assert [v.name for v in optimizer.variables] == ["iteration"]
    assert [v.name for v in optimizers.Adam().variables] == ["iteration", "learning_rate"]


def test_variables_that_gradients_overwrite():
    plain, whole = keras.Variable(np.array([1.0, 2.0])), keras.Variable(np.array([1.0, 2.0]))
    whole.overwrite_with_gradient = True
    optimizers.SGD(0.5).apply([tensor([2.0, 2.0]), tensor([7.0, 8.0])], [plain, whole])
    assert plain.numpy().tolist() == [0.0, 1.0] and whole.numpy().tolist() == [7.0, 8.0]


def test_scaled_losses_on_values():
    v = keras.Variable(np.array([1.0, 2.0], np.float32))
    scaled = optimizers.LossScaleOptimizer(optimizers.SGD(0.5, loss_scale_factor=10.0), initial_scale=4.0)
    scaled.build([v])
    state = [x.numpy() for x in scaled.variables]
    (new,), after = scaled.stateless_apply(state, [tensor([4.0, 8.0])], [v.numpy()])
    assert new.numpy().tolist() == [0.5, 1.0] and float(scaled.dynamic_scale) == 4.0
    (same,), halved = scaled.stateless_apply(state, [tensor([np.inf, 0.0])], [v.numpy()])
    assert same.numpy().tolist() == [1.0, 2.0]
    names = [x.name for x in scaled.variables]
    assert float(halved[names.index("dynamic_scale")].item()) == 2.0
    assert int(after[names.index("iteration")].item()) == 1 and int(halved[names.index("iteration")].item()) == 0


def test_what_belongs_to_the_inner_optimiser_is_refused():
    with pytest.raises(ValueError, match="on the `inner_optimizer`"):
        optimizers.LossScaleOptimizer(optimizers.SGD(), clipnorm=1.0)
    with pytest.raises(ValueError, match="`foo`"):
        optimizers.LossScaleOptimizer(optimizers.SGD(), foo=1)


def test_metrics_on_values_and_in_containers():
    class Both(metrics.Metric):
        def __init__(self):
            super().__init__(name="both")
            self.parts = {"a": metrics.Mean(), "b": [metrics.Sum()]}

        def update_state(self, values):
            self.parts["a"].update_state(values)
            self.parts["b"][0].update_state(values)

        def result(self):
            return float(self.parts["a"].result()) + float(self.parts["b"][0].result())

    metric = Both()
    assert len(metric.variables) == 3
    metric.update_state(np.array([1.0, 3.0]))
    assert metric.result() == 6.0
    start = metric.stateless_reset_state()
    assert [float(v.item()) for v in start] == [0.0, 0.0, 0.0] and metric.result() == 6.0
    later = metric.stateless_update_state(start, np.array([5.0]))
    assert metric.stateless_result(later) == 10.0 and metric.result() == 6.0


def test_metrics_are_pickled_with_what_they_counted():
    metric = metrics.MeanSquaredError()
    metric.update_state(np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    again = pickle.loads(pickle.dumps(metric))
    assert float(again.result()) == float(metric.result()) == 2.0
    again.reset_state()
    assert float(again.result()) == 0.0


def test_weights_for_each_element_of_an_answer():
    y, p = np.array([[1, 2], [3, 4]]), np.array([[0, 2], [3, 4]])
    for weight, expected in (([[1, 0], [0, 1]], 0.5), ([[1, 0]], 0.5), ([1, 3], 0.875)):
        metric = metrics.Accuracy()
        metric.update_state(y, p, sample_weight=np.array(weight))
        assert float(metric.result()) == pytest.approx(expected)


def test_precision_of_the_highest_takes_the_first_of_equal_ones():
    metric = metrics.Precision(top_k=3)
    metric.update_state(np.array([1, 0, 1, 1, 1]), np.array([0.2, 0.6, 0.4, 0.2, 0.2]))
    assert float(metric.result()) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="y_pred must be a 2D array"):
        metrics.Precision(class_id=1).update_state(np.array([0, 1]), np.array([0.1, 0.7]))


def test_area_under_the_gains_of_precision_and_recall():
    y, p = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.6, 0.2, 0.6, 0.7, 0.2])
    metric = metrics.AUC(num_thresholds=3, curve="PRGAIN")
    metric.update_state(y, p)
    # at thresholds below 0, 0.5, above 1: true positives 3, 2, 0; false 3, 1, 0; missed 0, 1, 3; as many 1 as 0
    recall, precision = [1.0, 0.5, 0.0], [0.0, 0.5, 1.0]
    expected = sum((recall[k] - recall[k + 1]) * (precision[k] + precision[k + 1]) / 2 for k in range(2))
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)


def test_losses_by_short_names_are_functions():
    y, p = np.array([[0.0, 1.0]]), np.array([[0.5, 1.0]])
    assert losses.get("mse")(y, p).numpy().tolist() == [0.125]
    assert losses.get("mean_absolute_error") is losses.mean_absolute_error
    assert isinstance(losses.get("MeanSquaredError"), losses.MeanSquaredError)
    assert isinstance(losses.get(losses.Huber), losses.Huber)
    with pytest.raises(ValueError, match="must have the same shape"):
        losses.BinaryCrossentropy()(np.zeros((3, 1)), np.full((3, 3), 0.5))
    with pytest.raises(ValueError, match="Invalid value for argument `reduction`"):
        losses.MeanSquaredError(reduction="most")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", keras.dtype_policies.DTypePolicy("mixed_float16")])
def test_losses_compute_in_their_dtype(dtype):
    found = losses.Dice(dtype=dtype)(np.array([[1, 2]]), np.array([[4, 1]]))
    assert found.dtype.name == getattr(dtype, "compute_dtype", dtype)


def test_clones_are_compiled_as_their_models_are():
    model = compiled(optimizers.SGD(0.25))
    clone = keras.models.clone_model(model)
    assert clone.compiled and float(clone.optimizer.learning_rate) == 0.25 and clone.optimizer is not model.optimizer
    assert clone.metrics_names == model.metrics_names
    clone.fit(X, Y, verbose=0)
    with pytest.raises(ValueError, match=r"same structure as model\.input"):
        keras.models.clone_model(model, input_tensors={"a": keras.Input((3,)), "b": keras.Input((3,))})


def test_names_that_models_keep_for_themselves():
    for model, message in ((compiled(), "reserved"), (keras.Sequential(), "Use `add"), (keras.Model(), "reserved")):
        with pytest.raises(AttributeError, match=message):
            model.layers = []


def test_export_says_what_there_is():
    with pytest.raises(ValueError, match="Unrecognized format"):
        compiled().export("x", format="paper")
    with pytest.raises(NotSupportedError, match=r"Model\.export"):
        compiled().export("x", format="openvino")
