"""Makes timm_logits.json: the first logits that timm's networks give for weights and images that NumPy draws.

Needs torch and timm (made with timm 1.0.31, torch 2.13), in a virtual environment of their own; the tests of
tests/networks draw the same weights and images, and need neither.

python tests/data/make_timm_logits.py
"""

import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).parent / "timm_logits.json"
NETWORKS = (
    "mnasnet_100",
    "semnasnet_100",
    "mnasnet_small",
    "tf_efficientnet_lite0",
    "tf_efficientnet_lite1",
    "mobilenetv4_conv_small",
    "mobilenetv4_conv_small_050",
    "mobilenetv4_conv_medium",
)
SIZES = (224, 65)
# Nothing halves what such a kernel gives, and sums add to a projection; scores about 1 to 12 make 1e-4 a bound.
GAINS = {"conv_pwl": 0.75, "pw_proj": 0.3, "dw_start": 0.8, "classifier": 8}
NUM_LOGITS = 200  # of 1000: each is a sum over all features of the image


def draw_weights(shapes):
    """dict of tensor name to float32 array, for a dict of name to shape in PyTorch's layout: kernels about keep the
    variance of what they read, batch normalisations are near 1 and 0. Drawn in the order of the names."""
    rng = np.random.default_rng(0)
    weights = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        noise = rng.standard_normal(shape)
        if len(shape) > 1:
            gain = next((gain for part, gain in GAINS.items() if part in name), 2)
            value = noise * np.sqrt(gain / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            value = np.exp(0.3 * noise)
        elif name.endswith(".weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.1 * noise
        weights[name] = value.astype(np.float32)
    return weights


def draw_image(size):
    """float32 [1, size, size, 3] in [-1, 1], RGB."""
    return np.random.default_rng(size).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)


def main():
    import timm
    import torch

    made = {}
    for name in NETWORKS:
        model = timm.create_model(name).eval()
        own = model.state_dict()
        weights = draw_weights({key: value.shape for key, value in own.items() if "num_batches" not in key})
        model.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()}, strict=False)
        for size in SIZES:
            mean, deviation = (np.float32(model.pretrained_cfg[each]) for each in ("mean", "std"))
            image = ((draw_image(size) + 1) / 2 - mean) / deviation
            with torch.no_grad():
                logits = model(torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float32)))[0].numpy()
            print(f"{name} at {size} px: standard deviation {logits.std():.2f}, largest {np.abs(logits).max():.2f}")
            made[f"{name}@{size}"] = [round(float(value), 5) for value in logits[:NUM_LOGITS]]
    PATH.write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
