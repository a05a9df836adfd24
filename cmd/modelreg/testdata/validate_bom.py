"""Validate bills of materials with what those who publish the formats provide."""

import io
import json
import pathlib
import sys

import jsonschema_rs
import pyshacl
import rdflib
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_python_model import load_data

VERSIONS = {"1.6": SchemaVersion.V1_6, "1.7": SchemaVersion.V1_7}
SPDX = pathlib.Path(__file__).parent / "spdx3"


def cyclonedx(raw):
    """Check a bill against the JSON schema of its version."""
    problem = JsonStrictValidator(VERSIONS[json.loads(raw)["specVersion"]]).validate_str(raw)
    if problem is not None:
        yield f"schema: {problem!r}"


def spdx(raw):
    """Check a bill against the JSON schema, the SHACL shapes and the classes of SPDX 3."""
    doc = json.loads(raw)
    schema = json.loads((SPDX / "schema-v3.0.1.json").read_bytes())
    for error in jsonschema_rs.validator_for(schema).iter_errors(doc):
        yield f"schema: {list(error.instance_path)}: {error.message[-500:]}"

    # The context is at hand, so that nothing is fetched.
    context = json.loads((SPDX / "spdx-context-v3.0.1.jsonld").read_bytes())
    graph = rdflib.Graph().parse(data=json.dumps(doc | context), format="json-ld")
    shapes = rdflib.Graph().parse(SPDX / "spdx-model-v3.0.1.jsonld", format="json-ld")
    conforms, _, report = pyshacl.validate(graph, shacl_graph=shapes, ont_graph=shapes)
    if not conforms:
        yield f"shapes: {report}"

    # Loading checks types, and writing again that nothing is missing.
    try:
        model, objects = load_data(doc)
        model.JSONLDSerializer().write(objects, io.BytesIO())
    except Exception as error:
        yield f"classes: {error!r}"
        return
    if objects.missing_ids:
        yield f"classes: not there: {objects.missing_ids}"


found = []
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        text = file.read()
    check = cyclonedx if "bomFormat" in json.loads(text) else spdx
    found += [f"{name}: {problem}" for problem in check(text)]
if found:
    sys.exit("\n".join(found))
