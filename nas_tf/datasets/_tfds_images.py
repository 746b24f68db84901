"""The images of a TFDS data set: decoded, cropped and resized by TensorFlow, in a `tf.data` pipeline."""


def decode(builder, encoded):
    """Returns an encoded image of a TFDS builder as uint8 or float32 [height, width, 3] in [0, 255].

    Transparent pixels lie on white, 16 bits are scaled down to 8, and grey becomes RGB.
    """
    import tensorflow as tf

    image = builder.info.features["image"].decode_example(encoded)
    if image.dtype == tf.uint16:
        image = tf.cast(image, tf.float32) / 257
    if image.shape[-1] == 4:
        pixels, alpha = tf.cast(image[..., :3], tf.float32), tf.cast(image[..., 3:], tf.float32) / 255
        image = pixels * alpha + 255 * (1 - alpha)
    return tf.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def resize(image, size):
    """Returns the whole image as uint8 [size, size, 3], bilinear and antialiased."""
    import tensorflow as tf

    resized = tf.image.resize(image, (size, size), antialias=True)
    return tf.ensure_shape(tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8), (size, size, 3))


def random_crop(jpeg, size, seed):
    """Returns 8 % to 100 % of the area of an encoded JPEG, mirrored at random, as uint8 [size, size, 3]."""
    import tensorflow as tf

    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        tf.io.extract_jpeg_shape(jpeg),
        tf.zeros((1, 0, 4)),
        seed,
        aspect_ratio_range=(3 / 4, 4 / 3),
        area_range=(0.08, 1.0),
        max_attempts=10,
        use_image_if_no_bounding_boxes=True,
    )
    image = tf.image.decode_and_crop_jpeg(jpeg, tf.concat([begin[:2], extent[:2]], 0), channels=3)
    return tf.image.stateless_random_flip_left_right(resize(image, size), seed + 1)


def central_crop(jpeg, size, fraction=0.875):
    """Returns the central `fraction` of the shorter side of an encoded JPEG, a square, as uint8 [size, size, 3]."""
    import tensorflow as tf

    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(jpeg))
    side = tf.cast(tf.round(fraction * tf.cast(tf.minimum(height, width), tf.float32)), tf.int32)
    window = tf.stack([(height - side) // 2, (width - side) // 2, side, side])
    return resize(tf.image.decode_and_crop_jpeg(jpeg, window, channels=3), size)
