"""Train the digits classifier and write it, with its card, into model/.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py

Everything is seeded, so the same versions of the libraries on the same kind of
processor give the same files. The metrics in the card are measured here, on
images that training has not seen, and with the exported files rather than the
trained object: what is shipped is what was measured.
"""

import json
import pathlib
import warnings

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import confusion_matrix, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 7
HIDDEN = 48
OUT = pathlib.Path(__file__).parent / "model"
HERE = pathlib.Path(__file__).parent


def train():
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32)
    split = train_test_split(images, labels, test_size=0.25, random_state=SEED, stratify=labels)
    train_x, test_x, train_y, test_y = split
    model = MLPClassifier(hidden_layer_sizes=(HIDDEN,), alpha=1e-3, max_iter=400, random_state=SEED)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        model.fit(train_x, train_y)
    tensors = {
        "hidden.weight": model.coefs_[0].T,
        "hidden.bias": model.intercepts_[0],
        "output.weight": model.coefs_[1].T,
        "output.bias": model.intercepts_[1],
    }
    tensors = {name: np.ascontiguousarray(t, dtype=np.float32) for name, t in tensors.items()}
    return tensors, model.n_iter_, train_x, test_x, test_y


def forward(tensors, x):
    """What every loader of the safetensors or NumPy file computes."""
    hidden = np.maximum(x @ tensors["hidden.weight"].T + tensors["hidden.bias"], 0)
    logits = hidden @ tensors["output.weight"].T + tensors["output.bias"]
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def write_onnx(tensors, path):
    def gemm(x, layer, y):
        return helper.make_node("Gemm", [x, f"{layer}.weight", f"{layer}.bias"], [y], name=layer, transB=1)

    graph = helper.make_graph(
        [
            gemm("image", "hidden", "hidden_sum"),
            helper.make_node("Relu", ["hidden_sum"], ["hidden_out"], name="relu"),
            gemm("hidden_out", "output", "logits"),
            helper.make_node("Softmax", ["logits"], ["probabilities"], name="softmax", axis=1),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(t, name) for name, t in tensors.items()],
    )
    model = helper.make_model(graph, producer_name="digits-example", opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def onnx_predict(path, x):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": x})[0]


def measure(test_x, test_y):
    by_format = {
        "safetensors": forward(load_file(OUT / "model.safetensors"), test_x),
        "numpy": forward(np.load(OUT / "model.npz"), test_x),
        "onnx": onnx_predict(OUT / "model.onnx", test_x),
    }
    reference = by_format["safetensors"]
    for name, probabilities in by_format.items():
        if not np.allclose(probabilities, reference, atol=1e-5):
            raise SystemExit(f"{name} does not compute what safetensors computes")
    predicted = reference.argmax(axis=1)
    table = confusion_matrix(test_y, predicted)
    mistakes = table - np.diag(np.diag(table))
    return {
        "accuracy": float((predicted == test_y).mean()),
        "f1": float(f1_score(test_y, predicted, average="macro")),
        "log_loss": float(log_loss(test_y, reference)),
        "recall": {int(d): float(table[d, d] / table[d].sum()) for d in range(10)},
        "same_mistake": int(mistakes.max()),
        "images": int(len(test_y)),
    }


def write_card(metrics, epochs, train_images, parameters):
    recall = "\n".join(f"| {digit} | {value:.3f} |" for digit, value in metrics["recall"].items())
    text = (HERE / "card.template.md").read_text()
    values = {
        "accuracy": f"{metrics['accuracy']:.4f}",
        "f1": f"{metrics['f1']:.4f}",
        "log_loss": f"{metrics['log_loss']:.4f}",
        "test_images": metrics["images"],
        "train_images": train_images,
        "epochs": epochs,
        "parameters": f"{parameters:,}",
        "hidden": HIDDEN,
        "recall": recall,
        "times": metrics["same_mistake"],
        "wrong": round((1 - metrics["accuracy"]) * metrics["images"]),
    }
    for name, value in values.items():
        text = text.replace("{{" + name + "}}", str(value))
    (OUT / "README.md").write_text(text)


def main():
    OUT.mkdir(exist_ok=True)
    tensors, epochs, train_x, test_x, test_y = train()
    save_file(tensors, OUT / "model.safetensors", metadata={"format": "np"})
    np.savez(OUT / "model.npz", **tensors)
    write_onnx(tensors, OUT / "model.onnx")
    config = {
        "model_type": "mlp",
        "architectures": ["DigitsMLP"],
        "image_size": 8,
        "hidden_size": HIDDEN,
        "num_labels": 10,
        "id2label": {str(d): str(d) for d in range(10)},
    }
    (OUT / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    metrics = measure(test_x, test_y)
    write_card(metrics, epochs, len(train_x), sum(t.size for t in tensors.values()))
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
