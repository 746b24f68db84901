"""Trains published networks beside what a search found, each at the width at which it takes as long."""

import dataclasses

from nas_tf.family import family_of_published
from nas_tf.files import read_json, write_json
from nas_tf.networks.description import NetworkDescription
from nas_tf.reports.numbers import milliseconds
from nas_tf.shipping.candidates import Candidate, time_network, train
from nas_tf.trial import EvaluationError, InfeasibleArchitecture, UserError

_ALIKE = ("bn_momentum", "dropout_rate")
WIDTHS = tuple(round(0.05 * i, 2) for i in range(2, 41))


def builder(name, workshop):
    """Returns `(build, scale_of)` for the published network called `name`.

    `build(scale_of(width multiplier))` returns its `keras.Model`, at the image size and classes at which the workshop's
    networks ship. It has the settings of `Scale` with which they are trained, as far as its own family knows them. In
    Keras's own networks, too, batch normalisation gets that momentum (their 0.999 forgets too slowly for short
    trainings) and the classifier that dropout.

    Raises:
        UserError: no published network has that name, or it has only one width.
    """
    module = family_of_published(name).published_module
    fields = {field.name for field in dataclasses.fields(module.Scale)}
    if "width_multiplier" not in fields or name in module.ONE_WIDTH:
        raise UserError(f"Expected --baselines that can be made wider and narrower. Received: {name}")
    ships, trained = workshop.scales()
    asked = {**workshop.plan.scale, **workshop.friendly}
    asked |= {key: getattr(trained, key) for key in _ALIKE if hasattr(trained, key)}
    settings = {key: value for key, value in asked.items() if key in fields}

    def scale_of(width):
        return module.Scale(ships.image_size, ships.num_classes, width_multiplier=width, **settings)

    def build(scale):
        import keras

        model = module.build(name, scale)
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization) and "bn_momentum" in settings:
                layer.momentum = settings["bn_momentum"]
        return _with_dropout(model, settings.get("dropout_rate", 0.0))

    return build, scale_of


def _with_dropout(model, rate):
    """Returns the classifier `model` with dropout of that rate in front of its last layer, and no other dropout."""
    import keras

    own = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    if (len(own) == 1 and own[0].rate == rate) or not (own or rate):
        return model
    for layer in own:
        layer.rate = 0.0
    if not rate:
        return model
    last = model.layers[-1]
    if not isinstance(last, keras.layers.Dense):  # Keras's MobileNet ends in a convolution, a reshape and a softmax
        last = next(layer for layer in reversed(model.layers) if layer.weights)
    dropout = keras.layers.Dropout(rate, name="alike_dropout")
    outputs = dropout(last.input)
    for layer in model.layers[model.layers.index(last) :]:
        outputs = layer(outputs)
    return keras.Model(model.inputs, outputs, name=model.name)


def train_baseline(workshop, folder, name, target_ms):
    """Trains a published network at the width that takes `target_ms`, unless that was done before.

    Args:
        workshop: the `nas_tf.shipping.candidates.Workshop`.
        folder: keeps the trained network, and the widths that were timed with the target that they were timed for.
        name: name of the published network.
        target_ms: latency in milliseconds of the network that ships.

    Returns:
        The `Candidate`.
    """
    build, scale_of = builder(name, workshop)
    path = folder / "widths.json"
    known = read_json(path) or {"target_ms": target_ms, "latency_ms": {}}

    def found(width, latency_ms):
        workshop.say(f"{name} at width {width:g}: {milliseconds(latency_ms)}")
        known["latency_ms"][str(width)] = latency_ms
        write_json(path, known)

    width, latency_ms = match(
        known["target_ms"],
        lambda width: time_network(workshop.device, build(scale_of(width))).latency_ms,
        {float(width): latency_ms for width, latency_ms in known["latency_ms"].items()},
        found,
    )
    workshop.say(
        f"{name} at width {width:g}, {milliseconds(latency_ms)} where the network that ships takes "
        f"{milliseconds(known['target_ms'])}"
    )
    scale = scale_of(width)
    description = NetworkDescription(
        text=f"{name}, width {width:g}",
        scale=dataclasses.asdict(scale),
        class_names=tuple(workshop.dataset.class_names),
        dataset=workshop.dataset.facts(),
        width=width,
    )
    return Candidate(name, folder, train(workshop, folder, build, (scale, scale), description))


def match(target_ms, measure, known=None, found=None):
    """Finds the width of `WIDTHS` (0.1 to 2) whose latency is nearest to a target.

    It is found by bisection, because latency grows with width, except for noise. Of all widths that were measured, also
    those around the last one, the nearest counts.

    Args:
        target_ms: the target in milliseconds.
        measure: `measure(width)` returns the latency in milliseconds.
        known: dict from width to its latency in milliseconds, measured earlier; or None.
        found: `found(width, latency_ms)` is called with each new latency; or None.

    Returns:
        `(width multiplier, latency in milliseconds)`.

    Raises:
        EvaluationError: no width could be measured.
    """
    latencies = dict(known or {})

    def latency_of(width):
        if width not in latencies:
            try:
                latencies[width] = measure(width)
            except InfeasibleArchitecture:
                latencies[width] = float("inf")  # too wide for the device
            if found:
                found(width, latencies[width])
        return latencies[width]

    low, high = 0, len(WIDTHS) - 1
    while low < high:
        middle = (low + high) // 2
        if latency_of(WIDTHS[middle]) < target_ms:
            low = middle + 1
        else:
            high = middle
    for i in (low - 1, low):
        if i >= 0:
            latency_of(WIDTHS[i])
    width = min(latencies, key=lambda each: abs(latencies[each] - target_ms))
    if latencies[width] == float("inf"):
        raise EvaluationError("The device ran no width of the network")
    return width, latencies[width]
