import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.net.URI;
import java.security.Security;
import java.security.cert.CertPath;
import java.security.cert.CertPathValidator;
import java.security.cert.CertPathValidatorException;
import java.security.cert.CertPathValidatorException.BasicReason;
import java.security.cert.CertificateFactory;
import java.security.cert.CertificateRevokedException;
import java.security.cert.Extension;
import java.security.cert.PKIXParameters;
import java.security.cert.PKIXRevocationChecker;
import java.security.cert.TrustAnchor;
import java.security.cert.X509Certificate;
import java.time.ZonedDateTime;
import java.time.format.DateTimeFormatter;
import java.util.EnumSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Asks as programs.rs writes it on standard input, a question a line, and says what each
 * answer is, a line each: with the PKIXRevocationChecker of the provider that is named.
 */
public final class Pkix {
    private static final Map<String, String> REASONS = Map.of(
        "UNSPECIFIED", "-", "KEY_COMPROMISE", "keyCompromise", "CA_COMPROMISE", "cACompromise",
        "AFFILIATION_CHANGED", "affiliationChanged", "SUPERSEDED", "superseded",
        "CESSATION_OF_OPERATION", "cessationOfOperation", "CERTIFICATE_HOLD", "certificateHold",
        "PRIVILEGE_WITHDRAWN", "privilegeWithdrawn", "AA_COMPROMISE", "aACompromise");

    private static final Pattern REVOKED =
        Pattern.compile("certificate revoked, reason=\\((?:CRLReason: (\\w+)|null)\\), date=(.*)");

    private static final DateTimeFormatter DATE =
        DateTimeFormatter.ofPattern("EEE MMM dd HH:mm:ss zzz yyyy", Locale.ROOT);

    public static void main(String[] arguments) throws Exception {
        if (arguments.length == 0) {
            System.out.println(System.getProperty("java.vendor") + " " + Runtime.version());
            return;
        }
        String provider = arguments[0];
        if (provider.equals("BC")) {
            Object bouncyCastle = Class.forName("org.bouncycastle.jce.provider.BouncyCastleProvider")
                .getDeclaredConstructor().newInstance();
            Security.addProvider((java.security.Provider) bouncyCastle);
        }
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            System.out.println(ask(provider, line.split("\t")).replace('\n', ' '));
        }
    }

    private static String ask(String provider, String[] column) throws Exception {
        X509Certificate issuer = certificate(column[1]);
        CertPath path = CertificateFactory.getInstance("X.509", provider.equals("BC") ? "BC" : "SUN")
            .generateCertPath(List.of(certificate(column[2])));
        CertPathValidator validator = CertPathValidator.getInstance("PKIX", provider);
        PKIXRevocationChecker checker = (PKIXRevocationChecker) validator.getRevocationChecker();
        checker.setOptions(EnumSet.of(
            PKIXRevocationChecker.Option.ONLY_END_ENTITY, PKIXRevocationChecker.Option.NO_FALLBACK));
        // Without it, the URL of the certificate is asked.
        if (!column[0].equals("-")) {
            checker.setOcspResponder(URI.create(column[0]));
        }
        // The signer given, or found in the answer.
        if (column[9].equals("given")) {
            checker.setOcspResponderCert(certificate(column[3]));
        }
        if (!column[5].equals("-")) {
            checker.setOcspExtensions(List.of(new Nonce(java.util.HexFormat.of().parseHex(column[5]))));
        }
        PKIXParameters parameters = new PKIXParameters(Set.of(new TrustAnchor(issuer, null)));
        parameters.addCertPathChecker(checker);
        try {
            validator.validate(path, parameters);
            return "good";
        } catch (CertPathValidatorException problem) {
            return refusal(problem);
        }
    }

    private static String refusal(CertPathValidatorException problem) {
        for (Throwable cause = problem; cause != null; cause = cause.getCause()) {
            if (cause instanceof CertificateRevokedException revoked) {
                String reason = REASONS.get(revoked.getRevocationReason().name());
                return "revoked " + reason + " " + revoked.getRevocationDate().getTime() / 1000;
            }
        }
        if (problem.getReason() == BasicReason.UNDETERMINED_REVOCATION_STATUS
            && problem.getMessage().contains("status is unknown")) {
            return "unknown";
        }
        // BouncyCastle says it in words only.
        Matcher words = REVOKED.matcher(problem.getMessage());
        if (words.matches()) {
            String reason = words.group(1) == null ? "-" : words.group(1);
            ZonedDateTime time = ZonedDateTime.parse(words.group(2), DATE);
            return "revoked " + reason + " " + time.toEpochSecond();
        }
        if (problem.getMessage().equals("certificate revoked, details unknown")) {
            return "unknown";
        }
        return "error: " + problem.getReason() + " " + problem;
    }

    private static X509Certificate certificate(String path) throws Exception {
        try (FileInputStream file = new FileInputStream(path)) {
            return (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(file);
        }
    }

    /** id-pkix-ocsp-nonce; the value is an OCTET STRING of its own. */
    private record Nonce(byte[] octets) implements Extension {
        private static final byte[] ID = {6, 9, 0x2b, 6, 1, 5, 5, 7, 48, 1, 2};

        @Override
        public String getId() {
            return "1.3.6.1.5.5.7.48.1.2";
        }

        @Override
        public boolean isCritical() {
            return false;
        }

        @Override
        public byte[] getValue() {
            byte[] value = new byte[octets.length + 2];
            value[0] = 4;
            value[1] = (byte) octets.length;
            System.arraycopy(octets, 0, value, 2, octets.length);
            return value;
        }

        @Override
        public void encode(OutputStream out) throws IOException {
            // Of less than 128 octets: Extension ::= SEQUENCE { OID, OCTET STRING }.
            byte[] value = getValue();
            out.write(new byte[] {0x30, (byte) (ID.length + 2 + value.length)});
            out.write(ID);
            out.write(new byte[] {4, (byte) value.length});
            out.write(value);
        }
    }
}
