// Asks as programs.rs writes it on standard input, a question a line, and says what
// each answer is, or what is wrong with it, a line each. With golang.org/x/crypto/ocsp.
package main

import (
	"bufio"
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

var hashes = map[string]crypto.Hash{
	"sha1": crypto.SHA1, "sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512,
}

var reasons = map[int]string{
	ocsp.Unspecified: "-", ocsp.KeyCompromise: "keyCompromise", ocsp.CACompromise: "cACompromise",
	ocsp.AffiliationChanged: "affiliationChanged", ocsp.Superseded: "superseded",
	ocsp.CessationOfOperation: "cessationOfOperation", ocsp.CertificateHold: "certificateHold",
	ocsp.PrivilegeWithdrawn: "privilegeWithdrawn", ocsp.AACompromise: "aACompromise",
}

func main() {
	if len(os.Args) > 1 {
		fmt.Println(runtime.Version())
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		said, err := ask(strings.Split(lines.Text(), "\t"))
		if err != nil {
			said = "error: " + err.Error()
		}
		fmt.Println(strings.ReplaceAll(said, "\n", " "))
	}
}

func ask(column []string) (string, error) {
	address, hash, method := column[0], column[4], column[6]
	issuer, err := certificate(column[1])
	if err != nil {
		return "", err
	}
	subject, err := certificate(column[2])
	if err != nil {
		return "", err
	}
	signer, err := certificate(column[3])
	if err != nil {
		return "", err
	}
	request, err := ocsp.CreateRequest(subject, issuer, &ocsp.RequestOptions{Hash: hashes[hash]})
	if err != nil {
		return "", err
	}
	octets, err := send(address, method, request)
	if err != nil {
		return "", err
	}
	answer, err := ocsp.ParseResponseForCert(octets, subject, issuer)
	if err != nil {
		return "", err
	}
	if err := answer.CheckSignatureFrom(signer); err != nil {
		return "", err
	}
	if answer.SerialNumber.Cmp(subject.SerialNumber) != 0 || answer.IssuerHash != hashes[hash] {
		return "", fmt.Errorf("serial %v, hash %v", answer.SerialNumber, answer.IssuerHash)
	}
	if delegated := !bytes.Equal(signer.Raw, issuer.Raw); delegated != (answer.Certificate != nil) {
		return "", fmt.Errorf("delegated %v, certificate %v", delegated, answer.Certificate)
	}
	now := time.Now()
	if answer.ThisUpdate.After(answer.ProducedAt) || answer.ProducedAt.After(now) || !now.Before(answer.NextUpdate) {
		return "", fmt.Errorf("times %v %v %v", answer.ThisUpdate, answer.ProducedAt, answer.NextUpdate)
	}
	switch answer.Status {
	case ocsp.Good:
		return "good", nil
	case ocsp.Unknown:
		return "unknown", nil
	case ocsp.Revoked:
		reason := reasons[answer.RevocationReason]
		return fmt.Sprintf("revoked %s %d", reason, answer.RevokedAt.Unix()), nil
	}
	return "", fmt.Errorf("status %d", answer.Status)
}

func send(address, method string, request []byte) ([]byte, error) {
	var response *http.Response
	var err error
	if method == "POST" {
		response, err = http.Post(address, "application/ocsp-request", bytes.NewReader(request))
	} else {
		text := base64.StdEncoding.EncodeToString(request)
		response, err = http.Get(strings.TrimSuffix(address, "/") + "/" + url.PathEscape(text))
	}
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

func certificate(path string) (*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	return x509.ParseCertificate(block.Bytes)
}
