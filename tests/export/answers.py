"""usage: answers.py MODEL BATCH INPUTS.npz OUTPUTS.npz

Runs an ONNX model on inputs (N, ...), by name, in batches, of which the last may be smaller, and writes
its outputs, by name. On the onnxruntime that Python finds: PYTHONPATH=.venv/oldest is the oldest.
Prints one JSON object: its version, the model's inputs and outputs, and the metadata."""
import json
import sys

import numpy
import onnxruntime


def main():
    path, batch, inputs, outputs = sys.argv[1], int(sys.argv[2]), dict(numpy.load(sys.argv[3])), sys.argv[4]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    n = len(next(iter(inputs.values())))
    parts = [session.run(names, {name: x[at:at + batch] for name, x in inputs.items()}) for at in range(0, n, batch)]
    numpy.savez(outputs, **{name: numpy.concatenate([p[i] for p in parts]) for i, name in enumerate(names)})
    describe = lambda values: {v.name: [v.type, v.shape] for v in values}
    print(json.dumps({"version": onnxruntime.__version__, "inputs": describe(session.get_inputs()),
                      "outputs": describe(session.get_outputs()),
                      "metadata": session.get_modelmeta().custom_metadata_map}))


main()
