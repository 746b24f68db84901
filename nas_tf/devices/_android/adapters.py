"""The two tools that are called `benchmark_model`: TFLite's, and LiteRT 2's own. Each lists its flags when asked.

TFLite's (`tflite/tools/benchmark`) runs an Interpreter with the delegates it is told; LiteRT's (`litert/tools`) runs a
CompiledModel on the accelerators it is told, and always uses XNNPACK on the CPU.
"""

import dataclasses
import re

from nas_tf.devices._android.phone import FOLDER

LIBRARIES = f"{FOLDER}/lib"  # on the phone: those of --android_library_dir
_USAGE = re.compile(r"^\s+--(\w+)=", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Adapter:
    """How a tool is asked.

    Attributes:
        name: of the tool, in words.
        delegates: dict from a delegate of `--android_delegate` to the flags that ask for it.
        printed: dict from a delegate to the flags that the tool then prints, by their printed names.
        result_flag: the flag that names the file of figures; empty: this tool has none.
        placement_flags: the flags that have it write what ran where, without the file's path; empty: it has none.
    """

    name: str
    delegates: dict
    printed: dict
    result_flag: str = ""
    placement_flags: tuple = ()

    def files(self, results, placement):
        """list[str]: flags with which the tool writes its files to these paths."""
        flags = [f"{self.result_flag}{results}"] if self.result_flag else []
        if self.placement_flags:
            flags += [*self.placement_flags[:-1], f"{self.placement_flags[-1]}{placement}"]
        return flags


TFLITE = Adapter(
    "TFLite's benchmark_model",
    {"cpu": ("--use_xnnpack=true",), "gpu": ("--use_gpu=true",), "nnapi": ("--use_nnapi=true",)},
    {"cpu": {}, "gpu": {"Use gpu": "1"}, "nnapi": {"Use NNAPI": "1"}},
)
# The CPU stays allowed beside an accelerator: which nodes it took is read afterwards, and then refused by number.
_NPU = ("--use_npu=true", f"--dispatch_library_path={LIBRARIES}", f"--compiler_plugin_library_path={LIBRARIES}")
LITERT = Adapter(
    "LiteRT's benchmark_model",
    {"cpu": ("--use_cpu=true",), "gpu": ("--use_gpu=true",), "npu": _NPU},
    {},
)
# Flags that a tool may leave unconsumed without harm: it does what they ask for anyway.
HARMLESS = ("--use_xnnpack=true", "--use_cpu=true")


def choose(usage):
    """Returns the `Adapter` of the tool that printed this text when it was asked for `--help`; None: it has none."""
    known = set(_USAGE.findall(usage))
    if "num_threads" not in known:
        return None
    tool = LITERT if "use_npu" in known and "use_xnnpack" not in known else TFLITE
    found = {}
    if "result_file_path" in known:
        found["result_flag"] = "--result_file_path="
    if "model_runtime_info_output_file" in known:
        export = ("--export_model_runtime_info=true",) if "export_model_runtime_info" in known else ()
        found["placement_flags"] = (*export, "--model_runtime_info_output_file=")
    return dataclasses.replace(tool, **found)
