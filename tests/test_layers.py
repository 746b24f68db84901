"""The architecture itself: imports only point down the rows, and never in a circle."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Row by row from the bottom; a module may import modules of lower rows only. A name with a star is a folder: its files
# may import one another, but for plug-ins.
ROWS = [
    ("trial", "accuracy", "quiet", "stopping", "complexity", "ranks"),
    ("space", "settings", "files", "recycling", "bars", "tabular"),
    ("plugins", "rewards", "resume", "export"),
    ("flags", "ranking", "networks.*", "algorithms.*", "datasets.*", "devices.*"),
    ("latency_tables.*", "reports.*", "training.*"),
    ("judges.*", "family"),
    ("accuracy_tables.*",),
    ("search.*",),
    ("shipping.*", "testing"),
    ("making.*",),
    ("detection.*",),
    ("apps.*",),
]
FAMILIES = ("mnas_tf", "nasnet_tf")
PLUG_INS = (
    "nas_tf.algorithms",
    "nas_tf.datasets",
    "nas_tf.devices",
    "nas_tf.judges",
    "nas_tf.search.workers",
    "mnas_tf.spaces",
    "nasnet_tf.spaces",
)
# Who may import what, beside rows.
OWNERS = {
    "sqlite3": ("nas_tf.search._database",),
    "absl": ("nas_tf.flags",),
    "tqdm": ("nas_tf.bars",),
    "ray": ("nas_tf.search.workers._ray_cluster", "nas_tf.search.workers._ray_nodes"),
    "adbutils": ("nas_tf.devices._android.adb",),
    "tensorflow": (
        "nas_tf.export",
        "nas_tf.datasets.tfds",
        "nas_tf.datasets._tfds_images",
        "nas_tf.training.machine",
        "nas_tf.detection._joining",
        "nas_tf.detection.export",
        "nas_tf.detection.nms",
    ),
    "pycocotools": ("nas_tf.detection.evaluate",),
    "google": ("nas_tf.devices._android.results",),
    "flatbuffers": ("nas_tf.shipping._flatbuffer", "nas_tf.detection._joining"),
    "safetensors": ("mnas_tf._pytorch_weights",),
    "tensorflow_datasets": ("nas_tf.datasets.tfds",),
    "multiprocessing": (
        "nas_tf.search.workers.process",
        "nas_tf.search.workers.ray",
        "nas_tf.search.workers._ray_client",
        "nas_tf.recycling",
    ),
}
# Classes that Keras has to find or to extend, and what needs SciPy everywhere; imported where a network is built or
# trained, or an algorithm made.
HEAVY_AT_TOP = (
    "nas_tf.algorithms._gaussian_process",
    "nas_tf.algorithms._predictor",
    "nas_tf.detection._clock",
    "nas_tf.networks.drop_path",
    "nas_tf.training.optimizers",
    "nas_tf.training._clock",
    "nas_tf.training.augmentation",
    "nas_tf.training.teacher",
)
HEAVY = ("keras", "scipy", "tensorflow", "tensorflow_datasets", "sklearn", "matplotlib", "tensorboard")


def modules():
    for folder in ("nas_tf", *FAMILIES, "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), path


MODULES = dict(modules())


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
                yield (full if full in MODULES else node.module, id(node) in top)


def row(module):
    """int: the row in which a module stands; None for none."""
    package, _, rest = module.partition(".")
    if package in FAMILIES:
        return len(ROWS)
    if package == "benchmarks":
        return len(ROWS) + 1
    for number, names in enumerate(ROWS):
        if rest in names or f"{rest.split('.')[0]}.*" in names:
            return number
    return None


def folder(module):
    """The folder within which modules may know one another: a family, or a folder of nas_tf."""
    package, *rest = module.split(".")
    return package if package != "nas_tf" else ".".join([package, *rest[:1]])


def plug_in(module):
    """(folder, part) of a module of a plug-in; None for others, the folder's promise and private helpers among them."""
    for each in PLUG_INS:
        part = module.removeprefix(f"{each}.").split(".")[0]
        if module.startswith(f"{each}.") and not part.startswith("_"):
            return each, part
    return None


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_down(name):
    for imported, at_top in imports(MODULES[name]):
        owner = imported.split(".")[0]
        if owner in OWNERS:
            assert name in OWNERS[owner], f"{name} imports {imported}, which only {OWNERS[owner]} may"
        assert not (at_top and owner in HEAVY and name not in HEAVY_AT_TOP), (
            f"{name} imports {imported} at its top: --help would pay for it"
        )
        assert not (at_top and imported in HEAVY_AT_TOP and name not in HEAVY_AT_TOP), (
            f"{name} imports {imported}, and Keras or SciPy with it, at its top"
        )
        if owner not in ("nas_tf", *FAMILIES, "benchmarks") or imported == owner:
            continue
        theirs, ours = row(imported), row(name)
        assert theirs is not None, f"{imported} stands in no row"
        assert theirs < ours or folder(imported) == folder(name), f"{name} imports {imported}, not below it"
        if name.startswith(("mnas_tf.spaces", "nasnet_tf.spaces")) and owner == "nas_tf":
            assert theirs <= 3, f"{name} imports {imported}: a space needs rows 0 to 3 only"


@pytest.mark.parametrize("name", [name for name in MODULES if plug_in(name)])
def test_parts_do_not_know_one_another(name):
    for imported, _ in imports(MODULES[name]):
        other = plug_in(imported)
        same_folder = other and other[0] == plug_in(name)[0]
        # A space may extend another's network: what it shares with it stands in the other's file.
        if same_folder and not name.startswith(("mnas_tf.spaces", "nasnet_tf.spaces")):
            assert other[1] == plug_in(name)[1], f"{name} imports {imported}, another part"


def test_every_module_stands_in_a_row():
    assert [name for name in MODULES if row(name) is None and name != "nas_tf"] == []


def test_no_circle():
    graph = {
        name: {imported for imported, _ in imports(path) if imported in MODULES and imported != name}
        for name, path in MODULES.items()
    }
    done, path = set(), []

    def visit(name):
        assert name not in path, f"a circle of imports: {' -> '.join([*path[path.index(name) :], name])}"
        if name in done:
            return
        path.append(name)
        for imported in sorted(graph[name]):
            visit(imported)
        path.pop()
        done.add(name)

    for name in graph:
        visit(name)


def test_families_do_not_know_each_other():
    for name, path in MODULES.items():
        family = name.split(".")[0]
        for imported, _ in imports(path):
            if family == "nas_tf":
                assert not imported.startswith(FAMILIES), f"{name} imports {imported}"
            other = {"mnas_tf": "nasnet_tf", "nasnet_tf": "mnas_tf"}.get(family)
            assert other is None or not imported.startswith(other), f"{name} imports {imported}"
