"""Makes from_tflite_support.tflite here with tflite-support 0.4.4's own writer, for tests/test_tflite_metadata.py.

    .venv/bin/python tests/data/tflite_metadata/make.py plain plain.tflite
    python3.11 -m venv /tmp/support && /tmp/support/bin/pip install tflite-support==0.4.4
    /tmp/support/bin/python tests/data/tflite_metadata/make.py write plain.tflite
    /tmp/support/bin/python tests/data/tflite_metadata/make.py show FILE    # what it reads of any file, as JSON

tflite-support needs the system's libusb-1.0.so.0 (Debian: libusb-1.0-0).
"""

import pathlib
import sys
import tempfile

HERE = pathlib.Path(__file__).parent


def plain(path):
    import keras

    from nas_tf.export import to_tflite

    inputs = keras.Input((4, 6, 3))
    x = keras.layers.GlobalAveragePooling2D()(inputs)
    to_tflite(keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x)), path)


def write(path):
    from tflite_support.metadata_writers import image_classifier, metadata_info

    with tempfile.TemporaryDirectory() as folder:
        labels = pathlib.Path(folder) / "labels.txt"
        labels.write_text("daisy\nrose of Jericho\n")
        writer = image_classifier.MetadataWriter.create_from_metadata_info(
            bytearray(pathlib.Path(path).read_bytes()),
            metadata_info.GeneralMd("flowers", "2.1", "Tells two flowers apart", "a gardener", "CC0"),
            metadata_info.InputImageTensorMd("image", "a photograph", [127.0], [128.0], tensor_type=0),
            metadata_info.ClassificationTensorMd(
                "probability", label_files=[metadata_info.LabelFileMd(str(labels))], tensor_type=0
            ),
        )
        (HERE / "from_tflite_support.tflite").write_bytes(writer.populate())


def show(path):
    from tflite_support import metadata

    displayer = metadata.MetadataDisplayer.with_model_file(path)
    print(displayer.get_metadata_json())
    for name in displayer.get_packed_associated_file_list():
        print(name, displayer.get_associated_file_buffer(name))


if __name__ == "__main__":
    {"plain": plain, "write": write, "show": show}[sys.argv[1]](sys.argv[2])
