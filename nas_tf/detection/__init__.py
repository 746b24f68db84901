"""Object detection on a network of either family: SSDLite from annotated images to TFLite files.

In the order of a visit: `annotations` and `data` read COCO and Pascal VOC; `augmentation` and `batches` make training
images; `backbone` builds a detector from a network and its weights; `boxes`, `matching` and `loss` say what it learns;
`recipes` and `train` train it; `nms` and `evaluate` judge it by mean average precision; `folder` keeps it; `files`
writes its TFLite files and `tflite` runs them; `drawing` shows what it found. `finalists` trains those of a search. The
head itself is `nas_tf.networks.ssdlite`.

Boxes are [top, left, bottom, right] in shares of the image's height and width (Keras's `rel_yxyx`), but for annotations
and results, which are in pixels.
"""
