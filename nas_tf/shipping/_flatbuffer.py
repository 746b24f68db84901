"""Flatbuffers by a schema that is data, and the few fields of a TFLite model that are needed to add a buffer to it.

A table is a dict. A schema is a dict from table to its fields in order, each (name, kind). A kind is "string", "byte",
the name of a table, a list of one of these or of "float" or "uint" for a vector, or a tuple of tables for a union. A
union's field `x` has its kind in `x_type`.
"""

import struct


def pack(schema, table, value, identifier):
    """Returns the dict `value` as a flatbuffer of root `table`, in bytes, without fields that are absent or empty."""
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(_put(builder, schema, table, value), file_identifier=identifier)
    return bytes(builder.Output())


def _put(builder, schema, kind, value):
    """Writes `value`, whose kind is not a scalar, and returns its offset."""
    if kind == "string":
        return builder.CreateString(value)
    if isinstance(kind, list):
        (element,) = kind
        if element in ("float", "uint"):
            builder.StartVector(4, len(value), 4)
            for number in reversed(value):
                (builder.PrependFloat32 if element == "float" else builder.PrependUint32)(number)
            return builder.EndVector()
        return put_offsets(builder, [_put(builder, schema, element, each) for each in value])
    slots = []
    for number, name, field in _numbered(schema[kind]):
        each = value.get(name)
        if isinstance(field, tuple):
            union = value.get(f"{name}_type")
            if union:
                slots.append((number - 1, "ubyte", field.index(union) + 1))
                slots.append((number, "offset", _put(builder, schema, union, each)))
        elif field == "byte":
            slots.append((number, "byte", each or 0))
        elif each:
            slots.append((number, "offset", _put(builder, schema, field, each)))
    return put_table(builder, slots)


def put_offsets(builder, offsets):
    """Writes a vector of offsets and returns its offset."""
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def put_table(builder, slots):
    """Writes a table of `slots` and returns its offset: (number, "byte", "ubyte", "uint" or "offset", value)."""
    builder.StartObject(max([number + 1 for number, _, _ in slots], default=0))
    put = {
        "byte": builder.PrependInt8Slot,
        "ubyte": builder.PrependUint8Slot,
        "uint": builder.PrependUint32Slot,
        "offset": builder.PrependUOffsetTRelativeSlot,
    }
    for number, kind, value in slots:
        put[kind](number, value, 0)
    return builder.EndObject()


def unpack(schema, table, content):
    """Returns the dict of which `pack` made `content`, without what is absent and without scalars of 0."""
    return _get(content, _follow(content, 0), schema, table)


def _get(content, position, schema, kind):
    if kind == "string":
        length = _uint(content, position)
        return content[position + 4 : position + 4 + length].decode()
    if isinstance(kind, list):
        (element,) = kind
        starts = range(position + 4, position + 4 + 4 * _uint(content, position), 4)
        if element in ("float", "uint"):
            form = "<f" if element == "float" else "<I"
            return [struct.unpack_from(form, content, start)[0] for start in starts]
        return [_get(content, _follow(content, start), schema, element) for start in starts]
    value = {}
    for number, name, field in _numbered(schema[kind]):
        at = field_at(content, position, number)
        if at is None:
            continue
        if isinstance(field, tuple):
            union = content[field_at(content, position, number - 1)]
            if not 0 < union <= len(field):
                continue  # of a kind that this schema leaves out
            value[f"{name}_type"] = field[union - 1]
            value[name] = _get(content, _follow(content, at), schema, field[union - 1])
        elif field == "byte":
            scalar = struct.unpack_from("<b", content, at)[0]
            value |= {name: scalar} if scalar else {}
        else:
            value[name] = _get(content, _follow(content, at), schema, field)
    return value


def _numbered(fields):
    number = 0
    for name, kind in fields:
        number += isinstance(kind, tuple)
        yield number, name, kind
        number += 1


def field_at(content, table, number):
    """Returns where field `number` of the table at position `table` stands in `content`, or None if it is left out."""
    vtable = table - struct.unpack_from("<i", content, table)[0]
    size = struct.unpack_from("<H", content, vtable)[0]
    offset = struct.unpack_from("<H", content, vtable + 4 + 2 * number)[0] if 4 + 2 * number < size else 0
    return table + offset if offset else None


def _uint(content, position):
    return struct.unpack_from("<I", content, position)[0]


def _follow(content, position):
    return position + _uint(content, position)


class Model:
    """A TFLite model's flatbuffer (schema.fbs of TFLite, identifier TFL3), as far as tensors and metadata go."""

    _VERSION, _SUBGRAPHS, _BUFFERS, _METADATA, _NUM_FIELDS = 0, 2, 4, 6, 8
    _OFFSETS = (1, 2, 3, 4, 5, 6, 7)  # the fields that point elsewhere

    def __init__(self, content):
        if content[4:8] != b"TFL3":
            raise ValueError(f"a TFLite file has TFL3 at byte 4. Received: {bytes(content[4:8])!r}")
        self._content, self._root = content, _follow(content, 0)

    @property
    def input(self):
        """(tuple of int, int): shape and TensorType of the only input. `output` is the same for the only output."""
        return self._tensor(1)

    @property
    def output(self):
        return self._tensor(2)

    def _tensor(self, number):
        (subgraph, *_) = self._vector(self._root, self._SUBGRAPHS)
        indices = _follow(self._content, field_at(self._content, subgraph, number))
        if _uint(self._content, indices) != 1:
            raise ValueError("expected a TFLite file with one input and one output")
        tensor = self._vector(subgraph, 0)[_uint(self._content, indices + 4)]
        shape = _follow(self._content, field_at(self._content, tensor, 0))
        kind = field_at(self._content, tensor, 1)
        dimensions = struct.unpack_from(f"<{_uint(self._content, shape)}i", self._content, shape + 4)
        return dimensions, self._content[kind] if kind else 0

    def _vector(self, table, number):
        """Returns the list of the positions of the tables in a vector of them."""
        at = field_at(self._content, table, number)
        if at is None:
            return []
        vector = _follow(self._content, at)
        starts = range(vector + 4, vector + 4 + 4 * _uint(self._content, vector), 4)
        return [_follow(self._content, start) for start in starts]

    def _entries(self):
        """Yields (position, name, index of its buffer) of every metadata entry."""
        for entry in self._vector(self._root, self._METADATA):
            name = _get(self._content, _follow(self._content, field_at(self._content, entry, 0)), {}, "string")
            index = field_at(self._content, entry, 1)
            yield entry, name, _uint(self._content, index) if index else 0

    def buffer(self, name):
        """Returns the bytes of the buffer that the metadata entry `name` points to, or None."""
        for _, each, index in self._entries():
            if each == name:
                table = self._vector(self._root, self._BUFFERS)[index]
                vector = _follow(self._content, field_at(self._content, table, 0))
                return self._content[vector + 4 : vector + 4 + _uint(self._content, vector)]
        return None

    def with_buffer(self, name, data):
        """Returns the bytes of the model with `data` as the metadata entry `name`.

        Only a new root is written, in front of the old bytes. These all stay, and keep their alignment. Offsets in a
        flatbuffer point forward, so that the new root can point to the old tables.
        """
        import flatbuffers

        old = self._content + bytes(-len(self._content) % 16)
        builder = flatbuffers.Builder(len(old) + len(data) + 4096)
        builder.CreateByteVector(old)  # the first thing put is the last in the file

        def offset(position):
            return len(old) - position

        builder.Prep(16, len(data))
        new_buffer = put_table(builder, [(0, "offset", builder.CreateByteVector(data))])
        buffers = self._vector(self._root, self._BUFFERS)
        kept = [offset(entry) for entry, each, _ in self._entries() if each != name]
        title = builder.CreateString(name)
        entry = put_table(builder, [(0, "offset", title), (1, "uint", len(buffers))])
        moved = {
            self._BUFFERS: put_offsets(builder, [*map(offset, buffers), new_buffer]),
            self._METADATA: put_offsets(builder, [*kept, entry]),
        }
        slots = [(self._VERSION, "uint", _uint(self._content, field_at(self._content, self._root, self._VERSION)))]
        for number in self._OFFSETS:
            at = field_at(self._content, self._root, number)
            if number in moved:
                slots.append((number, "offset", moved[number]))
            elif at is not None:
                slots.append((number, "offset", offset(_follow(self._content, at))))
        root = put_table(builder, slots)
        builder.Prep(16, 0)
        builder.Finish(root, file_identifier=b"TFL3")
        return bytes(builder.Output())
