//! Fingerprints of octets, by which files, entity tags and signers are told apart.

use openssl::sha::Sha256;

/// SHA-256.
///
/// What is signed is hashed beside its key instead, by whatever provider is in charge
/// of signatures. For a name that would cost several times what these octets take:
/// OpenSSL 3 looks the algorithm up anew for each call.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(octets);
    digest.finish()
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_what_openssl_makes_by_its_other_way() {
        for length in [0, 1, 55, 56, 63, 64, 65, 1000] {
            let octets = vec![b'a'; length];
            assert_eq!(super::sha256(&octets), openssl::sha::sha256(&octets), "{length}");
        }
    }
}
