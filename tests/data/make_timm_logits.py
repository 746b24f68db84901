"""Makes timm_logits.json: what timm's MnasNets give for weights and images that NumPy draws.

Needs torch and timm (made with timm 1.0.31, torch 2.14), in a virtual environment of their own; tests/
test_pytorch_weights.py draws the same weights and images, and needs neither.

python tests/data/make_timm_logits.py
"""

import json
import pathlib

import numpy as np

PATH = pathlib.Path(__file__).parent / "timm_logits.json"
NETWORKS = ("mnasnet_100", "semnasnet_100", "mnasnet_small")
SIZES = (224, 65)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def draw_weights(shapes):
    """dict of tensor name to float32 array, for a dict of name to shape in PyTorch's layout: kernels about keep the
    variance of what they read, batch normalisations are near 1 and 0. Drawn in the order of the names."""
    rng = np.random.default_rng(0)
    weights = {}
    for name in sorted(shapes):
        shape = tuple(shapes[name])
        noise = rng.standard_normal(shape)
        if len(shape) > 1:
            # Nothing halves what a projection gives, and sums add to it; scores about 1 to 12 make 1e-4 a bound.
            gain = 0.75 if name.endswith("conv_pwl.weight") else 8 if name.startswith("classifier") else 2
            value = noise * np.sqrt(gain / np.prod(shape[1:]))
        elif name.endswith("running_var"):
            value = np.exp(0.3 * noise)
        elif "bn" in name and name.endswith(".weight"):
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
            image = ((draw_image(size) + 1) / 2 - np.float32(MEAN)) / np.float32(DEVIATION)
            with torch.no_grad():
                logits = model(torch.from_numpy(image.transpose(0, 3, 1, 2).astype(np.float32)))[0].numpy()
            print(f"{name} at {size} px: standard deviation {logits.std():.2f}, largest {np.abs(logits).max():.2f}")
            made[f"{name}@{size}"] = [round(float(value), 5) for value in logits]
    PATH.write_text(json.dumps(made, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
