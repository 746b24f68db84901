"""Where published weights come from: a folder, Keras's cache, a server; and what is refused on the way."""

import dataclasses
import hashlib
import http.server
import threading

import numpy as np
import pytest
from safetensors.numpy import save
from seeded_weights import write_timm
from weightless import without_weights

from mnas_tf import _networks, _weight_files, pretrained, published
from mnas_tf.spaces.mnasnet import Scale
from nas_tf.trial import UserError

SMALL = ("mnasnet_small", 1.0)
FILE = "mnasnet_small.lamb_in1k.safetensors"
CONTENT = save({"weight": np.arange(999, dtype=np.float32)})


class _Server(http.server.ThreadingHTTPServer):
    """Answers every request with `content`, and says that it has `declared` bytes; None: does not say."""

    def __init__(self):
        self.content, self.declared, self.asked = CONTENT, len(CONTENT), 0
        super().__init__(("127.0.0.1", 0), _Answers)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/model.safetensors"


class _Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked += 1
        if self.server.content is None:
            self.send_error(404)
            return
        self.send_response(200)
        if self.server.declared is not None:
            self.send_header("Content-Length", str(self.server.declared))
        self.end_headers()
        self.wfile.write(self.server.content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A publisher of mnasnet_small on this machine, and an empty cache, `tmp_path / "keras" / "models"`."""
    with _Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        moved = dataclasses.replace(_weight_files.FILES[SMALL], url=server.url)
        monkeypatch.setitem(_weight_files.FILES, SMALL, moved)
        monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
        yield server
        server.shutdown()


def refused(words, *arguments):
    with pytest.raises(UserError, match=words) as error:
        pretrained.weights_file(*arguments)
    assert "\n" not in str(error.value)


def test_weights_are_fetched_once_and_their_digest_is_kept(server, tmp_path):
    path = pretrained.weights_file("mnasnet_small")
    assert path == tmp_path / "keras" / "models" / FILE and path.read_bytes() == CONTENT
    kept = path.with_name(f"{FILE}.sha256")
    assert kept.read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}\n"
    assert pretrained.weights_file("mnasnet_small") == path and server.asked == 1
    assert sorted(path.parent.iterdir()) == [path, kept]
    path.write_bytes(CONTENT[:-1] + b"x")
    refused(rf"{FILE} is damaged: its digest is not the one that was kept. Remove it", "mnasnet_small")
    path.unlink()
    server.content = save({"weight": np.zeros(999, np.float32)})
    refused(rf"is not the file that was published. Remove .*{FILE}.sha256 if a new one is meant", "mnasnet_small")
    assert not path.exists()
    kept.unlink()
    assert pretrained.weights_file("mnasnet_small").read_bytes() == server.content


def test_what_a_server_must_not_do(server, tmp_path, monkeypatch):
    def refused_whole(words):
        refused(rf"Tried to fetch {server.url}: {words}.*A file can be given instead: .*{FILE} in it", "mnasnet_small")
        assert list((tmp_path / "keras" / "models").iterdir()) == []

    server.declared = 10 * len(CONTENT)
    refused_whole(rf"only {len(CONTENT):,} of {10 * len(CONTENT):,} bytes came")
    server.declared = _weight_files.MOST_BYTES + 1  # the body is not waited for
    refused_whole(r"it has more than 134,217,728 bytes")
    server.declared = None
    with monkeypatch.context() as patch:
        patch.setattr(_weight_files, "MOST_BYTES", 1000)
        refused_whole(r"it has more than 1,000 bytes")
    for content in (b"<html>log in</html>", b"", CONTENT[:-1]):
        server.content = content
        refused_whole("what came is no file of weights")
    server.content = None
    refused_whole("HTTP Error 404: Not Found")
    server.shutdown()
    server.server_close()
    refused_whole(".*Connection refused")


def test_a_digest_that_keras_knows_is_compared(server, monkeypatch):
    pinned = dataclasses.replace(_weight_files.FILES[SMALL], md5=hashlib.md5(CONTENT).hexdigest())
    monkeypatch.setitem(_weight_files.FILES, SMALL, pinned)
    path = pretrained.weights_file("mnasnet_small")
    assert list(path.parent.iterdir()) == [path]
    path.write_bytes(b"")
    refused("is damaged: its digest is not the one that Keras knows", "mnasnet_small")
    path.unlink()
    server.content, server.declared = save({"other": np.zeros(3)}), None
    refused("what came is not the file that was published. A file can be given instead", "mnasnet_small")


def test_a_folder_is_looked_through_first(server, tmp_path):
    for file in ("mnasnet_small.safetensors", FILE):  # the full name goes first
        (tmp_path / file).write_bytes(b"as it is")
        assert pretrained.weights_file("mnasnet_small", 1.0, tmp_path) == tmp_path / file
    (tmp_path / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_224.h5").touch()
    assert pretrained.weights_file("mobilenet_v2", 0.35, tmp_path).parent == tmp_path
    assert server.asked == 0
    (tmp_path / "empty").mkdir()
    assert pretrained.weights_file("mnasnet_small", 1.0, tmp_path / "empty").parent.name == "models"
    refused("Expected a folder of files with weights. Received: .*gone", "mnasnet_small", 1.0, tmp_path / "gone")


def test_names_and_widths():
    assert pretrained.widths("mobilenet_v2") == (0.35, 0.5, 0.75, 1.0, 1.3, 1.4)
    assert pretrained.widths("mobilenet_v4_conv_s") == (0.5, 1.0)
    assert all(1.0 in pretrained.widths(name) for name in pretrained.NAMES)
    refused(r"mobilenet_v4_conv_m has published weights of width 1. Received: width=0.5", "mobilenet_v4_conv_m", 0.5)
    refused(r"Expected a network with published weights, one of mobilenet_v3_small, .* Received: 'vgg'", "vgg")


def test_keras_knows_the_same_addresses_and_digests(monkeypatch):
    """Asked of Keras itself: what it would fetch."""
    import keras
    from keras.src.applications import efficientnet, mobilenet_v2, mobilenet_v3, nasnet

    asked = {}

    def get_file(file, url, file_hash="", **_):
        asked[file] = (url, file_hash)
        raise InterruptedError

    for module in (efficientnet, mobilenet_v2, mobilenet_v3, nasnet):
        monkeypatch.setattr(module.file_utils, "get_file", get_file)
    functions = {
        "mobilenet_v2": keras.applications.MobileNetV2,
        "mobilenet_v3_small": keras.applications.MobileNetV3Small,
        "mobilenet_v3_large": keras.applications.MobileNetV3Large,
        "efficientnet_b0": keras.applications.EfficientNetB0,
        "nasnet_mobile": keras.applications.NASNetMobile,
    }
    found = {}
    for (name, width), file in _weight_files.FILES.items():
        if name in functions:
            options = {} if name in published.ONE_WIDTH else {"alpha": width}
            with pytest.raises(InterruptedError), without_weights():
                functions[name](input_shape=(224, 224, 3), weights="imagenet", **options)
            found[file.file] = (file.url, file.md5)
    assert found == asked


def test_imagenet_is_fetched_for_a_function(server, tmp_path):
    with without_weights():
        whole = _networks.whole("mnasnet_small_timm", published.scale_for("mnasnet_small", Scale(32)))
    path = write_timm(tmp_path / "x.safetensors", whole)
    server.content, server.declared = (tmp_path / "x.safetensors").read_bytes(), None
    fetched, given = (
        published.MnasNetSmall((32, 32, 3), include_top=False, weights=weights) for weights in ("imagenet", path)
    )
    for ours, theirs in zip(fetched.get_weights(), given.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(ValueError, match=r"Expected classes=1000, or include_top=False.* Received: classes=7"):
        published.MnasNetSmall(weights="imagenet", classes=7)
    with pytest.raises(ValueError, match=r"no published weights of mnasnet_d1. Received: weights='imagenet'"):
        published.MnasNetD1(weights="imagenet")
