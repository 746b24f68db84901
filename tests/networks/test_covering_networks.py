"""Every choice of every decision of the MnasNet space reaches TFLite, and gives there what Keras gives."""

import numpy as np
import pytest
from covering import covering_tokens

from mnas_tf.spaces.mnasnet import MnasNetSpace, Scale
from nas_tf.export import to_tflite

pytestmark = pytest.mark.real

SPACE = MnasNetSpace(kernel_sizes=(3, 5, 7))
COVERING = covering_tokens(SPACE)


@pytest.mark.parametrize("tokens", COVERING, ids=range(len(COVERING)))
def test_it_converts_and_runs(tokens, tmp_path):
    from ai_edge_litert.interpreter import Interpreter

    model = SPACE.build(SPACE.decode(tokens), Scale(32, 10, 0.25))
    to_tflite(model, tmp_path / "model.tflite")
    interpreter = Interpreter(str(tmp_path / "model.tflite"))
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype("float32")
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    output = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    # Float32 sums of some hundred terms through some twenty layers, in another order.
    np.testing.assert_allclose(output, np.asarray(model(image, training=False)), atol=1e-4)
