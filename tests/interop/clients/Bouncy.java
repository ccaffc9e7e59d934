import java.io.BufferedReader;
import java.io.FileReader;
import java.io.InputStreamReader;
import java.math.BigInteger;
import java.net.URI;
import java.net.URLEncoder;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.security.Security;
import java.util.Arrays;
import java.util.Base64;
import java.util.Date;
import java.util.HexFormat;
import java.util.Map;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DERNull;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.ocsp.OCSPObjectIdentifiers;
import org.bouncycastle.asn1.oiw.OIWObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.ocsp.BasicOCSPResp;
import org.bouncycastle.cert.ocsp.CertificateID;
import org.bouncycastle.cert.ocsp.CertificateStatus;
import org.bouncycastle.cert.ocsp.OCSPReqBuilder;
import org.bouncycastle.cert.ocsp.OCSPResp;
import org.bouncycastle.cert.ocsp.RevokedStatus;
import org.bouncycastle.cert.ocsp.SingleResp;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;
import org.bouncycastle.operator.jcajce.JcaDigestCalculatorProviderBuilder;

/**
 * Asks as programs.rs writes it on standard input, a question a line, and says what each
 * answer is, or what is wrong with it, a line each: with BouncyCastle's own OCSP classes.
 */
public final class Bouncy {
    private static final Map<String, ASN1ObjectIdentifier> HASHES = Map.of(
        "sha1", OIWObjectIdentifiers.idSHA1, "sha256", NISTObjectIdentifiers.id_sha256,
        "sha384", NISTObjectIdentifiers.id_sha384, "sha512", NISTObjectIdentifiers.id_sha512);
    private static final String[] REASONS = {
        "-", "keyCompromise", "cACompromise", "affiliationChanged", "superseded",
        "cessationOfOperation", "certificateHold", "", "removeFromCRL", "privilegeWithdrawn",
        "aACompromise"};
    private static final HttpClient CLIENT =
        HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();

    public static void main(String[] arguments) throws Exception {
        BouncyCastleProvider provider = new BouncyCastleProvider();
        Security.addProvider(provider);
        if (arguments.length > 0) {
            System.out.println(provider.getInfo());
            return;
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String said;
            try {
                said = ask(line.split("\t"));
            } catch (Exception problem) {
                said = "error: " + problem;
            }
            System.out.println(said.replace('\n', ' '));
        }
    }

    private static String ask(String[] column) throws Exception {
        X509CertificateHolder issuer = certificate(column[1]);
        BigInteger serial = certificate(column[2]).getSerialNumber();
        X509CertificateHolder signer = certificate(column[3]);
        ASN1ObjectIdentifier hash = HASHES.get(column[4].replace("-null", ""));
        // As its users write it, the NULL is left out.
        AlgorithmIdentifier algorithm = column[4].endsWith("-null")
            ? new AlgorithmIdentifier(hash, DERNull.INSTANCE) : new AlgorithmIdentifier(hash);
        DigestCalculatorProvider digests = new JcaDigestCalculatorProviderBuilder().build();
        CertificateID asked = new CertificateID(digests.get(algorithm), issuer, serial);
        OCSPReqBuilder builder = new OCSPReqBuilder().addRequest(asked);
        byte[] nonce = column[5].equals("-") ? null
            : new DEROctetString(HexFormat.of().parseHex(column[5])).getEncoded();
        if (nonce != null) {
            Extension extension =
                new Extension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce, false, nonce);
            builder.setRequestExtensions(new Extensions(extension));
        }
        OCSPResp response = new OCSPResp(send(column[0], column[6], builder.build().getEncoded()));
        want("status", response.getStatus(), OCSPResp.SUCCESSFUL);
        BasicOCSPResp basic = (BasicOCSPResp) response.getResponseObject();
        JcaContentVerifierProviderBuilder verifiers =
            new JcaContentVerifierProviderBuilder().setProvider("BC");
        want("signature", basic.isSignatureValid(verifiers.build(signer)), true);
        X509CertificateHolder[] sent =
            signer.equals(issuer) ? new X509CertificateHolder[0] : new X509CertificateHolder[] {signer};
        want("certificates", Arrays.equals(basic.getCerts(), sent), true);
        Extension echoed = basic.getExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce);
        boolean wanted = nonce != null && column[8].equals("yes");
        want("nonce", echoed != null, wanted);
        if (wanted) {
            want("nonce", Arrays.equals(echoed.getExtnValue().getOctets(), nonce), true);
        }
        want("answers", basic.getResponses().length, 1);
        SingleResp single = basic.getResponses()[0];
        want("CertID", single.getCertID().equals(asked), true);
        want("issuer", single.getCertID().matchesIssuer(issuer, digests), true);
        Date now = new Date();
        want("times", single.getThisUpdate().after(basic.getProducedAt())
            || basic.getProducedAt().after(now) || single.getNextUpdate().before(now), false);
        return status(single.getCertStatus());
    }

    private static String status(CertificateStatus status) {
        if (status == CertificateStatus.GOOD) {
            return "good";
        }
        if (status instanceof RevokedStatus revoked) {
            String reason = revoked.hasRevocationReason() ? REASONS[revoked.getRevocationReason()] : "-";
            return "revoked " + reason + " " + revoked.getRevocationTime().getTime() / 1000;
        }
        return "unknown";
    }

    private static byte[] send(String url, String method, byte[] request) throws Exception {
        HttpRequest.Builder builder;
        if (method.equals("POST")) {
            builder = HttpRequest.newBuilder(URI.create(url))
                .header("Content-Type", "application/ocsp-request")
                .POST(HttpRequest.BodyPublishers.ofByteArray(request));
        } else {
            String text = URLEncoder.encode(
                Base64.getEncoder().encodeToString(request), StandardCharsets.UTF_8);
            builder = HttpRequest.newBuilder(URI.create(url + "/" + text)).GET();
        }
        HttpResponse<byte[]> response =
            CLIENT.send(builder.build(), HttpResponse.BodyHandlers.ofByteArray());
        want("HTTP status", response.statusCode(), 200);
        return response.body();
    }

    private static X509CertificateHolder certificate(String path) throws Exception {
        try (PEMParser parser = new PEMParser(new FileReader(path))) {
            return (X509CertificateHolder) parser.readObject();
        }
    }

    private static void want(String what, Object found, Object wanted) {
        if (!found.equals(wanted)) {
            throw new IllegalStateException(what + " is " + found + ", wanted " + wanted);
        }
    }
}
