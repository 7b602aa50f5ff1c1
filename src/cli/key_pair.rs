//! `key-pair`.

use std::process::ExitCode;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::ValueEnum;

use super::{NO, YES, fail, print};

/// The length of a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// Makes a private key for tokens.keys, so that others can verify the tokens, and prints
/// it as PEM
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  (umask 077; portcullis key-pair > es256.pem)
  # portcullis.toml
  #   [tokens]
  #   keys = [{ kid = \"2026-11\", private_key_file = \"es256.pem\" }]
  curl http://localhost:8080/.well-known/jwks.json")]
pub(super) struct KeyPair {
    /// The algorithm to sign with
    #[arg(long, value_enum, ignore_case = true, default_value = "ES256")]
    alg: Alg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Alg {
    /// ECDSA on P-256, which every library can verify
    #[value(name = "ES256")]
    Es256,
    /// Ed25519
    #[value(name = "EdDSA")]
    EdDsa,
}

impl KeyPair {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let random = SystemRandom::new();
        let pkcs8 = match self.alg {
            Alg::Es256 => EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random),
            // What other programs read.
            Alg::EdDsa => Ed25519KeyPair::generate_pkcs8v1(&random),
        };
        let pkcs8 = pkcs8.map_err(|_| fail(NO, "no key could be made", "try again"))?;
        let text = STANDARD.encode(pkcs8.as_ref());
        let lines: Vec<&str> = (0..text.len())
            .step_by(LINE)
            .filter_map(|at| text.get(at..text.len().min(at + LINE)))
            .collect();
        let lines = lines.join("\n");
        print(format_args!("-----BEGIN PRIVATE KEY-----\n{lines}\n-----END PRIVATE KEY-----"));
        Ok(ExitCode::from(YES))
    }
}
