"""Programs that run a network's files, for its model card: they can be copied and run as they are, in its folder.

Android's calls are those of LiteRT 2.3 (github.com/google-ai-edge/LiteRT, litert/kotlin).
"""

_LITERT = "2.3.0"

PYTHON = """```python
# python classify.py photo.jpg, in this folder; needs ai-edge-litert, numpy and pillow
import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

with open("labels.txt", encoding="utf-8") as file:
    labels = file.read().splitlines()
classify = Interpreter("{file}").get_signature_runner("serving_default")
photo = ImageOps.exif_transpose(Image.open(sys.argv[1])).convert("RGB")  # upright, as phones mean it
image = {square}
values = np.asarray(image, np.float32)[np.newaxis] / 127.5 - 1  # 0 to 255 becomes -1 to 1
{run}
print(labels[probabilities.argmax()], probabilities.max())
```"""

_SQUARE = {
    "stretch": "photo.resize(({size}, {size}), Image.Resampling.BILINEAR)",
    "crop": "ImageOps.fit(photo, ({size}, {size}), Image.Resampling.BILINEAR)",
}

_RUN_FLOATS = 'probabilities = classify(image=values)["probabilities"][0]'
_RUN_INTEGERS = """(given,), (wanted,) = classify.get_input_details().values(), classify.get_output_details().values()
(scale, zero), (step, origin) = given["quantization"], wanted["quantization"]
integers = np.clip(np.round(values / scale + zero), -128, 127).astype(np.int8)
probabilities = (classify(image=integers)["probabilities"][0].astype(np.float32) - origin) * step"""

COMPILED = """```python
# the same by CompiledModel, which runs on GPUs and NPUs too
from ai_edge_litert.compiled_model import CompiledModel

model = CompiledModel.from_file("{file}")
inputs, outputs = model.create_input_buffers(0), model.create_output_buffers(0)
inputs[0].write(values)
model.run_by_index(0, inputs, outputs)
probabilities = outputs[0].read(len(labels), np.float32)
print(labels[probabilities.argmax()], probabilities.max())
```"""

KOTLIN = """```kotlin
// {file} and labels.txt in app/src/main/assets; in app/build.gradle.kts, under dependencies:
//     implementation("com.google.ai.edge.litert:litert:{litert}")
import android.content.Context
import android.graphics.Bitmap
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

class Classifier(context: Context) : AutoCloseable {{
    private val labels = context.assets.open("labels.txt").bufferedReader().readLines()
    private val model = CompiledModel.create(context.assets, "{file}", CompiledModel.Options(Accelerator.CPU))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** The likeliest class of an upright photo, and its probability. */
    fun classify(bitmap: Bitmap): Pair<String, Float> {{
        val photo = bitmap.copy(Bitmap.Config.ARGB_8888, false) // whose pixels can be read
{square}
        while (minOf(image.width, image.height) >= 2 * SIZE) {{ // by halves: one large step would skip most pixels
            image = Bitmap.createScaledBitmap(image, image.width / 2, image.height / 2, true)
        }}
        image = Bitmap.createScaledBitmap(image, SIZE, SIZE, true)
        val pixels = IntArray(SIZE * SIZE)
        image.getPixels(pixels, 0, SIZE, 0, 0, SIZE, SIZE)
        val values = FloatArray(3 * SIZE * SIZE)
        for (i in pixels.indices) for (channel in 0..2) {{ // red, green, blue: 0 to 255 becomes -1 to 1
            values[3 * i + channel] = ((pixels[i] shr (16 - 8 * channel)) and 0xFF) / 127.5f - 1f
        }}
        inputs[0].writeFloat(values)
        model.run(inputs, outputs)
        val probabilities = outputs[0].readFloat()
        val best = probabilities.indices.maxBy {{ probabilities[it] }}
        return labels[best] to probabilities[best]
    }}

    override fun close() {{
        (inputs + outputs).forEach {{ it.close() }}
        model.close()
    }}

    private companion object {{
        const val SIZE = {size}
    }}
}}
```"""

_SQUARE_ON_ANDROID = {
    "stretch": "        var image = photo",
    "crop": """        val side = minOf(photo.width, photo.height)
        var image = Bitmap.createBitmap(photo, (photo.width - side) / 2, (photo.height - side) / 2, side, side)""",
}

KERAS = """```python
import keras

model = keras.saving.load_model("model.keras")  # Keras 3, all of it
layer = keras.layers.TFSMLayer("saved_model")  # Keras 3, inference
```

```python
import tensorflow_hub as hub

# Both take [-1, 1], as all files here. Only the signatures image_classification and image_feature_vector take [0, 1].
loaded = hub.load("saved_model")  # probabilities = loaded(images)
layer = hub.KerasLayer("saved_model", trainable=True)  # tf_keras; fine-tunes
```"""


def snippets(file, number_type, image_size, fit):
    """Returns programs as Markdown: Python by Interpreter and CompiledModel, Kotlin for Android, Keras and TF Hub.

    Args:
        file: name of the TFLite file that they run.
        number_type: its type, of `nas_tf.export.NUMBER_TYPES`.
        image_size: height and width of its images in pixels.
        fit: how an image becomes square, `"stretch"` or `"crop"`.
    """
    is_integer = number_type == "int8"
    square = _SQUARE[fit].format(size=image_size)
    parts = [PYTHON.format(file=file, square=square, run=_RUN_INTEGERS if is_integer else _RUN_FLOATS)]
    if not is_integer:
        words = {"file": file, "litert": _LITERT, "size": image_size, "square": _SQUARE_ON_ANDROID[fit]}
        parts += [COMPILED.format(file=file), KOTLIN.format(**words)]
    return "\n\n".join([*parts, KERAS])
