"""Two TFLite files as one: what the first returns is what the second takes."""


def joined(first, second):
    """Returns the content of a TFLite file that runs two files one after the other.

    It has the inputs of the first and the outputs of the second, in the alphabet's order of their names. Both have one
    subgraph and the signature `serving_default`. The first's outputs and the second's inputs have the same order,
    shapes and types.

    Args:
        first, second: the contents of the files.
    """
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    models = [schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(each, 0)) for each in (first, second)]
    (graph,), (added,) = (each.subgraphs for each in models)
    model, other = models
    num_codes, num_buffers = len(model.operatorCodes), len(model.buffers)
    place = {-1: -1}  # of an input that is left out
    place.update(zip(_of_signature(other, "inputs"), _of_signature(model, "outputs")))
    for number, tensor in enumerate(added.tensors):
        if number not in place:
            place[number] = len(graph.tensors)
            tensor.buffer = tensor.buffer + num_buffers if tensor.buffer else 0
            graph.tensors.append(tensor)
    for operator in added.operators:
        operator.opcodeIndex += num_codes
        operator.inputs = [place[int(each)] for each in operator.inputs]
        operator.outputs = [place[int(each)] for each in operator.outputs]
        graph.operators.append(operator)
    model.operatorCodes += other.operatorCodes
    model.buffers += other.buffers
    graph.outputs = [place[each] for each in _of_signature(other, "outputs")]
    model.signatureDefs[0].outputs = other.signatureDefs[0].outputs
    for output in model.signatureDefs[0].outputs:
        output.tensorIndex = place[int(output.tensorIndex)]
    builder = flatbuffers.Builder(len(first) + len(second))
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _of_signature(model, side):
    """Returns the tensors of a signature's inputs or outputs, in the alphabet's order of their names."""
    maps = sorted(getattr(model.signatureDefs[0], side), key=lambda each: each.name)
    return [int(each.tensorIndex) for each in maps]
