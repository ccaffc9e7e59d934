"""Asks as programs.rs writes it on standard input, a question a line, and says what
each answer is, or what is wrong with it, a line each.

Requests come from `cryptography` or `asn1crypto`. Every field of an
answer is read by `cryptography` and compared with what the question wants; then
`asn1crypto` and `pyasn1` read it as well, and write it again to the same octets.
"""

import base64
import datetime
import hashlib
import http.client
import importlib.metadata
import sys
import urllib.parse

from asn1crypto import core, ocsp as asn1_ocsp, x509 as asn1_x509
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.x509 import ocsp
from pyasn1.codec.der import decoder as der_decoder, encoder as der_encoder
from pyasn1_alt_modules import rfc6960

HASHES = {
    "sha1": hashes.SHA1(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
REASONS = {
    x509.ReasonFlags.key_compromise: "keyCompromise",
    x509.ReasonFlags.ca_compromise: "cACompromise",
    x509.ReasonFlags.affiliation_changed: "affiliationChanged",
    x509.ReasonFlags.superseded: "superseded",
    x509.ReasonFlags.cessation_of_operation: "cessationOfOperation",
    x509.ReasonFlags.certificate_hold: "certificateHold",
    x509.ReasonFlags.privilege_withdrawn: "privilegeWithdrawn",
    x509.ReasonFlags.aa_compromise: "aACompromise",
}
COLUMNS = "url issuer certificate signer hash nonce method responder_id echo builder".split()


class Wrong(Exception):
    """What is wrong with an answer."""


def main():
    if sys.argv[1:] == ["--version"]:
        names = ["cryptography", "asn1crypto", "pyasn1"]
        print(" ".join(f"{name} {importlib.metadata.version(name)}" for name in names))
        return
    for line in sys.stdin:
        question = dict(zip(COLUMNS, line.rstrip("\n").split("\t"), strict=True))
        try:
            print(ask(question), flush=True)
        except Exception as problem:  # whatever it is belongs to this question
            print(f"error: {type(problem).__name__}: {problem}", flush=True)


def ask(question):
    issuer = certificate(question["issuer"])
    subjects = [certificate(path) for path in question["certificate"].split(",")]
    nonce = None if question["nonce"] == "-" else bytes.fromhex(question["nonce"])
    request, algorithms = build(question, subjects, issuer, nonce)
    answer = send(question, request)
    earliest = datetime.datetime.now(datetime.timezone.utc)
    parsed = ocsp.load_der_ocsp_response(answer)
    want("response_status", parsed.response_status, ocsp.OCSPResponseStatus.SUCCESSFUL)
    signer = certificate(question["signer"])
    check_signer(parsed, signer, issuer, question["responder_id"])
    check_nonce(parsed, nonce if question["echo"] == "yes" else None)
    want("number of answers", len(list(parsed.responses)), len(subjects))
    said = []
    for single, subject, algorithm in zip(parsed.responses, subjects, algorithms, strict=True):
        check_cert_id(single, subject, issuer, algorithm)
        check_times(parsed, single, earliest)
        said.append(status(single))
    check_by_others(answer, parsed, said)
    return ", ".join(said)


def build(question, subjects, issuer, nonce):
    """The request, and the hash of each CertID."""
    name = question["hash"]
    if question["builder"] == "cryptography":
        builder = ocsp.OCSPRequestBuilder().add_certificate(subjects[0], issuer, HASHES[name])
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.build().public_bytes(serialization.Encoding.DER), [name]
    as_asn1 = [asn1_x509.Certificate.load(der(subject)) for subject in subjects]
    issuer_as_asn1 = asn1_x509.Certificate.load(der(issuer))
    # Every certificate by another hash, the third without the NULL.
    names = [list(HASHES)[at % len(HASHES)] for at in range(len(subjects))]
    requests = []
    for subject, algorithm in zip(as_asn1, names, strict=True):
        digest = {"algorithm": algorithm}
        if algorithm != "sha384":
            digest["parameters"] = core.Null()
        public_key = issuer_as_asn1.public_key["public_key"].contents[1:]
        requests.append({"req_cert": {
            "hash_algorithm": digest,
            "issuer_name_hash": hashlib.new(algorithm, subject.issuer.dump()).digest(),
            "issuer_key_hash": hashlib.new(algorithm, public_key).digest(),
            "serial_number": subject.serial_number,
        }})
    tbs_request = {"request_list": requests}
    if nonce is not None:
        extension = {"extn_id": "nonce", "critical": False, "extn_value": nonce}
        tbs_request["request_extensions"] = [extension]
    request = asn1_ocsp.OCSPRequest({"tbs_request": asn1_ocsp.TBSRequest(tbs_request)})
    return request.dump(), names


def send(question, request):
    url = urllib.parse.urlsplit(question["url"])
    connection = http.client.HTTPConnection(url.netloc, timeout=10)
    path = url.path or "/"
    if question["method"] == "POST":
        headers = {"Content-Type": "application/ocsp-request"}
        connection.request("POST", path, request, headers)
    else:
        text = base64.b64encode(request).decode()
        spelt = {
            "GET": urllib.parse.quote(text, safe=""),
            "GET-bare": text.rstrip("="),
            "GET-raw": text,
            "GET-url-safe": base64.urlsafe_b64encode(request).decode(),
        }[question["method"]]
        connection.request("GET", path.rstrip("/") + "/" + spelt)
    response = connection.getresponse()
    body = response.read()
    want("HTTP status", response.status, 200)
    want("Content-Type", response.headers["Content-Type"], "application/ocsp-response")
    return body


def check_signer(parsed, signer, issuer, responder_id):
    digest = hashlib.sha1(public_key_octets(signer)).digest()
    want("responder key", parsed.responder_key_hash, digest if responder_id == "key" else None)
    want("responder name", parsed.responder_name, signer.subject if responder_id == "name" else None)
    want("certificates", parsed.certificates, [] if signer == issuer else [signer])
    key = signer.public_key()
    signature, signed = parsed.signature, parsed.tbs_response_bytes
    algorithm = parsed.signature_algorithm_oid
    if isinstance(key, rsa.RSAPublicKey):
        if algorithm == x509.SignatureAlgorithmOID.RSASSA_PSS:
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            key.verify(signature, signed, pss, hashes.SHA256())
        else:
            want("algorithm", algorithm, x509.SignatureAlgorithmOID.RSA_WITH_SHA256)
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePublicKey):
        digest = {256: hashes.SHA256(), 384: hashes.SHA384()}[key.key_size]
        want("hash", parsed.signature_hash_algorithm.name, digest.name)
        key.verify(signature, signed, ec.ECDSA(digest))
    else:
        want("algorithm", algorithm, x509.SignatureAlgorithmOID.ED25519)
        key.verify(signature, signed)


def check_nonce(parsed, nonce):
    found = [extension.value for extension in parsed.extensions]
    want("extensions", found, [] if nonce is None else [x509.OCSPNonce(nonce)])


def check_cert_id(single, subject, issuer, name):
    want("serial number", single.serial_number, subject.serial_number)
    want("hash algorithm", single.hash_algorithm.name, name)
    name_hash = hashlib.new(name, issuer.subject.public_bytes()).digest()
    want("issuer name hash", single.issuer_name_hash, name_hash)
    want("issuer key hash", single.issuer_key_hash, hashlib.new(name, public_key_octets(issuer)).digest())


def check_times(parsed, single, earliest):
    second = datetime.timedelta(seconds=1)
    in_order = (
        single.this_update_utc <= parsed.produced_at_utc <= earliest + second
        and earliest < single.next_update_utc
    )
    if not in_order:
        raise Wrong(f"times {single.this_update_utc} {parsed.produced_at_utc} {earliest}")


def status(single):
    if single.certificate_status == ocsp.OCSPCertStatus.GOOD:
        return "good"
    if single.certificate_status == ocsp.OCSPCertStatus.UNKNOWN:
        return "unknown"
    reason = single.revocation_reason
    reason = "-" if reason is None else REASONS[reason]
    return f"revoked {reason} {int(single.revocation_time_utc.timestamp())}"


def check_by_others(answer, parsed, said):
    read = asn1_ocsp.OCSPResponse.load(answer, strict=True)
    native = read.native["response_bytes"]["response"]
    want("asn1crypto: octets", read.copy().dump(force=True), answer)
    responses = native["tbs_response_data"]["responses"]
    want("asn1crypto: number", len(responses), len(said))
    for single, other in zip(parsed.responses, responses, strict=True):
        want("asn1crypto: serial", other["cert_id"]["serial_number"], single.serial_number)
        want("asn1crypto: nextUpdate", other["next_update"], single.next_update_utc)
        want("asn1crypto: extensions", other["single_extensions"], None)
    outer, rest = der_decoder.decode(answer, asn1Spec=rfc6960.OCSPResponse())
    want("pyasn1: rest", rest, b"")
    want("pyasn1: octets", der_encoder.encode(outer), answer)
    inner = bytes(outer["responseBytes"]["response"])
    basic, rest = der_decoder.decode(inner, asn1Spec=rfc6960.BasicOCSPResponse())
    want("pyasn1: rest of the basic response", rest, b"")
    want("pyasn1: octets of the basic response", der_encoder.encode(basic), inner)


def certificate(path):
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificate(file.read())


def der(of_certificate):
    return of_certificate.public_bytes(serialization.Encoding.DER)


def public_key_octets(of_certificate):
    """The value of subjectPublicKey without tag, length and unused-bits octet."""
    info = asn1_x509.Certificate.load(der(of_certificate)).public_key
    return info["public_key"].contents[1:]


def want(what, found, wanted):
    if found != wanted:
        raise Wrong(f"{what} is {found!r}, wanted {wanted!r}")


main()
