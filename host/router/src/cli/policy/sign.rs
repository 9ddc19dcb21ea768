//! `patchbay policy sign` and `verify`: signatures of policies, offline.

use std::path::{Path, PathBuf};

use clap::Args;
use patchbay_policy::not_a_component;
use serde_json::json;

use super::super::{ConfigArguments, Failure, output};
use super::read;
use crate::signature::{self, KeyError, PrivateKey, PublicKey, SignatureError};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy sign --new-key release.key\n  patchbay policy sign target/policies/mine.wasm --key release.key"
)]
pub(in crate::cli) struct Sign {
    /// The component; its signature goes to FILE.wasm.sig.
    #[arg(value_name = "FILE.wasm", required_unless_present = "new_key")]
    file: Option<PathBuf>,
    /// The file with the private key, readable by its owner alone.
    #[arg(long, value_name = "KEYFILE", required_unless_present = "new_key")]
    key: Option<PathBuf>,
    /// Makes a key pair: the private key goes to this new file, the public one is printed and goes to FILE.pub.
    #[arg(long, value_name = "KEYFILE", conflicts_with_all = ["file", "key"])]
    new_key: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  patchbay policy verify target/policies/mine.wasm --key release.key.pub\n  patchbay policy verify mine.wasm --key ed25519:0123...\n  patchbay policy verify mine.wasm --config /etc/patchbay/patchbay.toml"
)]
pub(in crate::cli) struct Verify {
    /// The component; its signature is in FILE.wasm.sig.
    #[arg(value_name = "FILE.wasm")]
    file: PathBuf,
    /// A public key, or a file with one. Default: policy.trusted_keys of the configuration.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    config: ConfigArguments,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl Sign {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        match (self.new_key, self.file, self.key) {
            (Some(new_key), ..) => make_key(&new_key, self.json),
            (None, Some(file), Some(key)) => sign(&file, &key, self.json),
            _ => unreachable!("the parser takes a file and a key, or a new key"),
        }
    }
}

fn key_failure(error: KeyError) -> Failure {
    Failure::Said(error.to_string())
}

fn make_key(path: &Path, json: bool) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        |source| Failure::File { path, source }
    };
    let key = PrivateKey::generate().map_err(failed(path))?;
    key.write_new(path).map_err(key_failure)?;
    let public = key.public().to_string();
    let mut public_file = path.as_os_str().to_owned();
    public_file.push(".pub");
    let public_file = PathBuf::from(public_file);
    std::fs::write(&public_file, format!("{public}\n")).map_err(failed(&public_file))?;
    if json {
        output::json(
            &json!({ "private_key_file": path, "public_key_file": public_file, "public_key": public }),
        );
    } else {
        eprintln!(
            "wrote {} (keep it secret) and {}",
            path.display(),
            public_file.display()
        );
        output::line(&public);
    }
    Ok(())
}

fn sign(file: &Path, key: &Path, json: bool) -> Result<(), Failure> {
    let key = PrivateKey::read(key).map_err(key_failure)?;
    let bytes = read(file)?;
    if let Some(problem) = not_a_component(&bytes) {
        return Err(Failure::Said(format!("{}: {problem}", file.display())));
    }
    let signature = key.sign(&bytes).to_string();
    let path = signature::signature_file(file);
    std::fs::write(&path, format!("{signature}\n")).map_err(|source| Failure::File {
        path: path.clone(),
        source,
    })?;
    if json {
        output::json(
            &json!({ "signature_file": path, "signature": signature, "public_key": key.public().to_string() }),
        );
    } else {
        output::line(&path.display().to_string());
    }
    Ok(())
}

impl Verify {
    pub(in crate::cli) fn execute(self) -> Result<(), Failure> {
        let keys = self.keys()?;
        match (self.signer(&keys), self.json) {
            (Ok(signer), true) => output::json(
                &json!({ "file": self.file, "valid": true, "signed_by": signer.to_string() }),
            ),
            (Ok(signer), false) => {
                output::line(&format!("{}: signed by {signer}", self.file.display()));
            }
            (Err(failure), true) => {
                output::json(
                    &json!({ "file": self.file, "valid": false, "problem": failure.to_string() }),
                );
                return Err(Failure::Printed);
            }
            (Err(failure), false) => return Err(failure),
        }
        Ok(())
    }

    fn signer<'k>(&self, keys: &'k [PublicKey]) -> Result<&'k PublicKey, Failure> {
        let bytes = read(&self.file)?;
        let beside = signature::signature_file(&self.file);
        let text = signature::read_beside(&self.file).map_err(|source| Failure::File {
            path: beside.clone(),
            source,
        })?;
        let file = self.file.display();
        signature::signer(keys, &bytes, text.as_deref()).map_err(|error| {
            Failure::Said(match error {
                SignatureError::Missing => format!(
                    "{file}: it is not signed, there is no {}: `patchbay policy sign {file} --key KEYFILE` makes it",
                    beside.display()
                ),
                _ => format!("{file}: {error}"),
            })
        })
    }

    fn keys(&self) -> Result<Vec<PublicKey>, Failure> {
        let Some(key) = &self.key else {
            let keys = self.config.load()?.policy.trusted_keys;
            if keys.is_empty() {
                return Err(Failure::Said(
                    "policy.trusted_keys is empty: name a key with --key".to_owned(),
                ));
            }
            return Ok(keys);
        };
        if key.starts_with("ed25519:") {
            return Ok(vec![key.parse().map_err(Failure::Said)?]);
        }
        Ok(vec![PublicKey::read(Path::new(key)).map_err(key_failure)?])
    }
}
