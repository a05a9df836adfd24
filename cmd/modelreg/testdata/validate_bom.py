"""Validate bills of materials with what those who publish the formats provide."""

import io
import json
import sys

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from spdx_python_model import load_data

VERSIONS = {"1.6": SchemaVersion.V1_6, "1.7": SchemaVersion.V1_7}

for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as file:
        raw = file.read()
    doc = json.loads(raw)
    if "bomFormat" in doc:
        problem = JsonStrictValidator(VERSIONS[doc["specVersion"]]).validate_str(raw)
        if problem is not None:
            sys.exit(f"{name}: {problem!r}")
        continue
    # Loading checks types, and writing again that nothing is missing.
    model, objects = load_data(doc)
    model.JSONLDSerializer().write(objects, io.BytesIO())
    if objects.missing_ids:
        sys.exit(f"{name}: not there: {objects.missing_ids}")
