"""Lints the OCSP responses whose files standard input names with pkilint, as its own
`lint_ocsp_response` does. A line for each finding: file, severity, code, place, text."""

import importlib.metadata
import sys

from pkilint import loader, pkix
from pkilint.pkix import extension, name, ocsp


def main():
    if sys.argv[1:] == ["--version"]:
        print(f"pkilint {importlib.metadata.version('pkilint')}")
        return
    validator = ocsp.create_pkix_ocsp_response_validator_container(
        [
            ocsp.create_response_decoder(),
            pkix.create_attribute_decoder(name.ATTRIBUTE_TYPE_MAPPINGS),
            pkix.create_extension_decoder(extension.EXTENSION_MAPPINGS),
        ],
        [],
    )
    load = loader.RFC6960OCSPResponseDocumentLoader().load_der_file
    for line in sys.stdin:
        path = line.rstrip("\n")
        with open(path, "rb") as file:
            response = load(file, path)
        for result in validator.validate(response.root):
            for description in result.finding_descriptions:
                finding = description.finding
                found = [path, finding.severity.name, finding.code, result.node.path]
                print("\t".join([*map(str, found), str(description.message)]))
        print(f"{path}\tLINTED", flush=True)


main()
