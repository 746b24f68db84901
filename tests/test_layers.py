"""The architecture itself: imports only point down the rows of the house."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Row by row from the bottom; a module may import modules of lower rows only. Row 1 is what plug-ins build on, row 2
# the plug-ins, which never know one another.
ROWS = [
    (
        "nas_tf.space",
        "nas_tf.trial",
        "nas_tf.rewards",
        "nas_tf.flags",
        "nas_tf.plugins",
        "nas_tf.files",
        "nas_tf.quiet",
        "nas_tf.distribution",
    ),
    (
        "nas_tf.blocks",
        "nas_tf.drop_path",
        "nas_tf.optimizers",
        "nas_tf.checkpoint",
        "nas_tf.input_pipeline",
        "nas_tf.width_match",
        "nas_tf.complexity",
        "nas_tf.records",
        "nas_tf.run_folder",
        "nas_tf.tflite_timer",
        "nas_tf.latency_table",
        "nas_tf.composition",
        "nas_tf._flatbuffer",
    ),
    ("nas_tf.algorithms", "nas_tf.datasets", "nas_tf.devices", "nas_tf.recipe"),
    (
        "nas_tf.training",
        "nas_tf.training_report",
        "nas_tf.comparison",
        "nas_tf.export",
        "nas_tf.weights",
        "nas_tf.tflite_metadata",
        "nas_tf.tflite_accuracy",
        "nas_tf.model_card",
        "nas_tf.files_report",
        "nas_tf.report",
        "nas_tf.latency_report",
        "mnas_tf.spaces",
        "nasnet_tf.spaces",
    ),
    ("nas_tf.shipped_files", "nas_tf._file_writer"),
    ("nas_tf.evaluation", "nas_tf.finish", "nas_tf.phone_check", "nas_tf.table_builder"),
    ("nas_tf.workers", "nas_tf.search"),
    ("nas_tf.progress", "nas_tf.warm_start"),
    (
        "nas_tf.run",
        "nas_tf.command",
        "nas_tf.train_command",
        "nas_tf.export_command",
        "nas_tf.shipping",
        "nas_tf.baselines",
        "nas_tf.families",
        "mnas_tf.published",
        "nasnet_tf.published",
        "mnas_tf._pytorch_weights",
        "nasnet_tf._keras_weights",
    ),
    ("nas_tf.apps", "mnas_tf", "nasnet_tf", "benchmarks"),
]
# Rows in which modules know one another; the order within them is the reader's to keep.
OPEN_ROWS = (0, 8, 9)
OWNERS = {
    "sqlite3": ("nas_tf.records",),
    "absl": ("nas_tf.flags",),
    "ray": ("nas_tf.workers",),
    "adbutils": ("nas_tf.devices._android.adb",),
    "tensorflow": ("nas_tf.export", "nas_tf.datasets.tfds", "nas_tf.distribution"),
    "flatbuffers": ("nas_tf._flatbuffer",),
    "safetensors": ("mnas_tf._pytorch_weights",),
    "tensorflow_datasets": ("nas_tf.datasets.tfds",),
    "multiprocessing": ("nas_tf.workers", "nas_tf.table_builder"),
}
# Layer classes, which a .keras file needs to find; imported where a network is built or trained.
KERAS_AT_TOP = ("nas_tf.drop_path", "nas_tf.optimizers")
HEAVY = ("keras", "tensorflow", "tensorflow_datasets", "sklearn", "matplotlib", "tensorboard")


def modules():
    for folder in ("nas_tf", "mnas_tf", "nasnet_tf", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


def imports(path):
    """(module, whether at the module's top) of every import in a file."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                is_module = (ROOT / pathlib.Path(*full.split("."))).with_suffix(".py").exists()
                yield (full if is_module else node.module, id(node) in top)


def row(module):
    fitting = [(len(name), i) for i, names in enumerate(ROWS) for name in names
               if module == name or module.startswith(name + ".")]  # fmt: skip
    return max(fitting)[1] if fitting else None


@pytest.mark.parametrize("name,path", modules(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_point_down(name, path):
    for imported, at_top in imports(path):
        owner = imported.split(".")[0]
        if owner in OWNERS:
            assert name in OWNERS[owner], f"{name} imports {imported}, which only {OWNERS[owner]} may"
        assert not (at_top and owner in HEAVY and name not in KERAS_AT_TOP), (
            f"{name} imports {imported} at its top: --help would pay for it"
        )
        assert not (at_top and imported in KERAS_AT_TOP), f"{name} imports {imported}, and Keras with it, at its top"
        if owner not in ("nas_tf", "mnas_tf", "nasnet_tf", "benchmarks") or imported == owner:
            continue
        theirs, ours = row(imported), row(name)
        assert theirs is not None, f"{imported} stands in no row"
        same_family = theirs == ours and (ours in OPEN_ROWS or imported.rsplit(".", 1)[0] == name)
        own_promise = theirs == ours and name.startswith(imported)
        own_helper = theirs == ours and any(word.startswith("_") for word in imported.split("."))
        assert theirs < ours or same_family or own_promise or own_helper, f"{name} imports {imported}, not below it"


def test_every_module_stands_in_a_row():
    assert [name for name, _ in modules() if row(name) is None and name != "nas_tf"] == []


def test_families_do_not_know_each_other():
    for name, path in modules():
        family = name.split(".")[0]
        for imported, _ in imports(path):
            if family == "nas_tf":
                assert not imported.startswith(("mnas_tf", "nasnet_tf")), f"{name} imports {imported}"
            other = {"mnas_tf": "nasnet_tf", "nasnet_tf": "mnas_tf"}.get(family)
            assert other is None or not imported.startswith(other), f"{name} imports {imported}"
