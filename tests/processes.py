"""Code that runs in an interpreter of its own, perhaps under another backend."""

import importlib.util
import os
import subprocess
import sys

import keras

import keras_motivation as km

BACKENDS = ("tensorflow", "jax", "torch")
THIS = keras.backend.backend()


def run(code, *arguments, backend=THIS, folders=(), **environment):
    """Runs code in a fresh interpreter.

    Args:
        code: The code.
        *arguments: Its command line.
        backend: Of Keras.
        folders: Where it finds modules, beside this repository and this folder.
        **environment: More variables of its environment.

    Returns:
        What it printed.
    """
    root = os.path.dirname(os.path.dirname(km.__file__))
    path = os.pathsep.join([root, os.path.dirname(__file__), *map(str, folders)])
    variables = {"KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": path, **environment}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def another_backend():
    """The next installed backend in the ring tensorflow, jax, torch."""
    position = BACKENDS.index(THIS)
    others = BACKENDS[position + 1 :] + BACKENDS[:position]
    return next((backend for backend in others if importlib.util.find_spec(backend)), None)
