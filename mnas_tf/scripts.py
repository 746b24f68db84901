"""The console scripts of this family. A stop ends them quietly while their modules are imported, too."""

from nas_tf.stopping import console_script

search = console_script("mnas_tf.search")
train = console_script("mnas_tf.train")
export = console_script("mnas_tf.export")
