"""Every TFLite file has a signature with named inputs and outputs, and takes other batch sizes."""

import functools
import subprocess
import sys

import numpy as np
import pytest

from mnas_tf.spaces.mnasnet import MnasNet, MnasNetSpace, Scale
from nas_tf.export import NUMBER_TYPES, to_tflite

pytestmark = pytest.mark.real
# At 16 px the last blocks' maps have one pixel: what the converter took for a bias there refused another batch.
NETWORK = "r1_k3_s22_e1_i8_o8_noskip r2_k3_s22_e3_i8_o16_se0.25 r2_k3_s22_e3_i16_o16"
# LiteRT runs in a process of its own, as it does for users.
RUN = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1])
assert interpreter.get_signature_list() == {"serving_default": {"inputs": ["image"], "outputs": ["probabilities"]}}
given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
images = np.load(sys.argv[2])
assert given["shape"][0] == 1
if given["dtype"] == np.int8:
    scale, zero = given["quantization"]
    images = np.clip(np.round(images / scale + zero), -128, 127).astype(np.int8)
interpreter.resize_tensor_input(given["index"], images.shape)
found = interpreter.get_signature_runner()(image=images)["probabilities"]
if wanted["dtype"] == np.int8:
    scale, zero = wanted["quantization"]
    found = (found.astype(np.float32) - zero) * scale
np.save(sys.argv[3], found)
"""


@functools.cache
def network():
    import keras

    keras.utils.set_random_seed(2)
    return MnasNetSpace().build(MnasNet.parse(NETWORK), Scale(16, 5))


@pytest.mark.parametrize("number_type", NUMBER_TYPES)
def test_a_file_has_a_signature_and_takes_another_batch_size(tmp_path, number_type):
    images = np.random.default_rng(0).uniform(-1, 1, (8, 16, 16, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    to_tflite(network(), tmp_path / "model.tflite", 1, number_type, images)
    words = [sys.executable, "-c", RUN, tmp_path / "model.tflite", tmp_path / "images.npy", tmp_path / "found.npy"]
    subprocess.run(words, check=True, timeout=60)
    # Probabilities of int8 have steps of 1/256.
    atol = 1e-5 if number_type == "float32" else 0.03
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), network()(images), atol=atol)


COMPILED = """
import sys
import numpy as np
from ai_edge_litert.compiled_model import CompiledModel

model = CompiledModel.from_file(sys.argv[1])
images = np.load(sys.argv[2])[:1]
given, wanted = model.create_input_buffers(0), model.create_output_buffers(0)
given[0].write(images)
model.run_by_index(0, given, wanted)
np.save(sys.argv[3], np.asarray(wanted[0].read(5, np.float32)))
"""


def test_litert_compiles_a_file(tmp_path):
    """CompiledModel, LiteRT 2's way to run a file, finds the signature."""
    images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype("float32")
    np.save(tmp_path / "images.npy", images)
    to_tflite(network(), tmp_path / "model.tflite")
    words = [sys.executable, "-c", COMPILED, tmp_path / "model.tflite", tmp_path / "images.npy", tmp_path / "found.npy"]
    subprocess.run(words, check=True, timeout=60)
    np.testing.assert_allclose(np.load(tmp_path / "found.npy"), np.ravel(network()(images)), atol=1e-5)
