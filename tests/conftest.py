"""Fixtures. The suite runs once under each backend, chosen by the environment variable KERAS_BACKEND."""

import gc
import importlib.util
import mmap
import os
import pathlib


def _compile_faster():
    """Without fused kernels, XLA compiles twice as fast, and tests run what they compile a few times only.

    XLA aborts the process if it does not know a flag, so its library is searched for the name.
    """
    flag = "xla_cpu_use_fusion_emitters"
    if "JAX_DISABLE_MOST_OPTIMIZATIONS" not in os.environ or importlib.util.find_spec("jaxlib") is None:
        return
    for folder in importlib.util.find_spec("jaxlib").submodule_search_locations:
        for path in pathlib.Path(folder).glob("libjax_common*"):
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
                if library.find(flag.encode()) >= 0:
                    os.environ["XLA_FLAGS"] = f"--{flag}=false {os.environ.get('XLA_FLAGS', '')}".strip()


if os.environ.get("KERAS_BACKEND") == "jax":
    _compile_faster()

import keras  # noqa: E402
import pytest  # noqa: E402

try:
    import hypothesis
except ImportError:  # the tests that need it are skipped
    pass
else:  # the same examples in each run; `--hypothesis-profile=default` looks for others
    hypothesis.settings.register_profile("same", derandomize=True)
    hypothesis.settings.load_profile("same")


def pytest_addoption(parser):
    parser.addoption("--all-pairs", action="store_true", help="train the heaviest stock pairs under every backend")


@pytest.fixture
def every_backend_or_fastest(request):
    """For what takes minutes to compile elsewhere: PyTorch, which compiles nothing, unless `--all-pairs` is given."""
    if keras.backend.backend() != "torch" and not request.config.getoption("--all-pairs"):
        pytest.skip("minutes to compile; runs under PyTorch, and here with --all-pairs")


def _forget_custom_gradients():
    """TensorFlow keeps whatever graph holds a `tf.custom_gradient` for ever, as those of Keras's losses do.

    That is 20 MB a test, and whoever collects garbage looks through all of it.
    """
    from tensorflow.python.framework import ops

    registry = ops.gradient_registry._registry
    for name in [name for name in registry if name.startswith("CustomGradient-")]:
        del registry[name]


@pytest.fixture(autouse=True)
def _fresh():
    """Same seeds for every test, and no layer numbering left over from the one before."""
    if keras.backend.backend() == "tensorflow":
        _forget_custom_gradients()
    keras.utils.clear_session()  # collects garbage
    gc.freeze()  # what is left is no garbage (imports, compiled programs), and not looked at again: a fifth of the time
    keras.utils.set_random_seed(0)


@pytest.fixture
def float64():
    """Everything in double precision, where a rounding difference does not flip a decision."""
    floatx, policy = keras.config.floatx(), keras.config.dtype_policy()
    if keras.backend.backend() == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx(floatx)
    keras.config.set_dtype_policy(policy)
    if keras.backend.backend() == "jax":
        jax.config.update("jax_enable_x64", False)


def _under(policy):
    former = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    yield
    keras.config.set_dtype_policy(former)


@pytest.fixture
def mixed_float16():
    yield from _under("mixed_float16")


@pytest.fixture
def mixed_bfloat16():
    yield from _under("mixed_bfloat16")
