"""usage: answers.py MODEL BATCH,BATCH,... INPUTS.npz OUTPUTS.npz

Runs an ONNX model on inputs (N, ...), by name, in batches of each size, of which the last may be smaller, and
writes its outputs as BATCH/NAME. On the onnxruntime that Python finds: PYTHONPATH=.venv/oldest is the oldest.
Prints one JSON object: its version, the model's inputs and outputs, and the metadata."""
import json
import sys

import numpy
import onnxruntime


def main():
    path, batches, inputs, outputs = sys.argv[1], map(int, sys.argv[2].split(",")), dict(numpy.load(sys.argv[3])), sys.argv[4]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    n, told = len(next(iter(inputs.values()))), {}
    for batch in batches:
        parts = [session.run(names, {name: x[at:at + batch] for name, x in inputs.items()}) for at in range(0, n, batch)]
        told.update({"%d/%s" % (batch, name): numpy.concatenate(some) for name, some in zip(names, zip(*parts))})
    numpy.savez(outputs, **told)
    describe = lambda values: {v.name: [v.type, v.shape] for v in values}
    print(json.dumps({"version": onnxruntime.__version__, "inputs": describe(session.get_inputs()),
                      "outputs": describe(session.get_outputs()),
                      "metadata": session.get_modelmeta().custom_metadata_map}))


main()
