//! The cache of a function's single calls: one file for each result.
//!
//! Files are only ever created, under names that follow from what their results depend on. So processes share
//! a directory without locks: a file is complete when it has its name, and a second one has the same content.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::Describe;
use crate::api::failure::Rejected;
use crate::api::spec::FunctionSpec;
use crate::sys::PerProcess;

/// Separates the keys of this format from those of others. It has to change when the encoding of values does.
const FORMAT: &[u8] = b"retry-runtime cache 1";

/// Length of the digest behind a value.
const CHECK: usize = 32;

/// The digests of the functions' signatures, which take a while to compute.
static SIGNATURES: PerProcess<Mutex<HashMap<&'static str, u64>>> = PerProcess::new();

/// The place of one call's result.
#[derive(Debug)]
pub(crate) struct CachePlace {
    directory: &'static str,
    file: PathBuf,
}

impl CachePlace {
    /// Returns the place for the result of a call, if its function has a cache.
    pub(crate) fn of(
        spec: &'static FunctionSpec,
        config: Option<&[u8]>,
        describe: Describe,
        input: &[u8],
    ) -> Option<Self> {
        let directory = spec.cache?;
        let mut digest = Sha256::new();
        let parts: [&[u8]; 6] = [
            FORMAT,
            spec.name.as_bytes(),
            spec.version.unwrap_or_default().as_bytes(),
            &[u8::from(spec.version.is_some()), u8::from(config.is_some())],
            &signature(spec.name, describe).to_le_bytes(),
            config.unwrap_or_default(),
        ];
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.update(input);
        let mut name = String::new();
        for byte in digest.finalize() {
            name.push_str(&format!("{byte:02x}"));
        }
        let (folder, rest) = name.split_at(2);
        Some(Self {
            directory,
            file: Path::new(directory).join(folder).join(rest),
        })
    }

    /// Returns the result, if it is there. Prepares the directory if not.
    ///
    /// # Errors
    ///
    /// If the directory cannot be used.
    pub(crate) fn find(&self) -> Result<Option<Bytes>, Rejected> {
        let unusable = |error: std::io::Error| {
            let directory = self.directory;
            let reason = format!("the cache directory {directory} cannot be used: {error}");
            Rejected::Checkpoint(reason.into())
        };
        match fs::read(&self.file) {
            // A file that a crash of the system has damaged is written again.
            Ok(content) => Ok(checked(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = self.file.parent().unwrap_or(Path::new(self.directory));
                fs::create_dir_all(folder).map_err(unusable)?;
                Ok(None)
            }
            Err(error) => Err(unusable(error)),
        }
    }

    /// Stores the result.
    ///
    /// # Errors
    ///
    /// The sentence that says why it cannot be stored.
    pub(crate) fn keep(&self, value: &[u8]) -> Result<(), String> {
        static DRAFTS: AtomicU64 = AtomicU64::new(0);
        let number = DRAFTS.fetch_add(1, Ordering::Relaxed);
        let draft = self
            .file
            .with_extension(format!("{}-{number}", std::process::id()));
        let write = || {
            let mut file = fs::File::create(&draft)?;
            file.write_all(value)?;
            file.write_all(&Sha256::digest(value))?;
            fs::rename(&draft, &self.file)
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&draft);
            let directory = self.directory;
            format!("a result cannot be stored in the cache directory {directory}: {error}")
        })
    }
}

/// Returns the value of a file, without the digest behind it, if that fits.
fn checked(mut content: Vec<u8>) -> Option<Bytes> {
    let length = content.len().checked_sub(CHECK)?;
    let check = content.split_off(length);
    (Sha256::digest(&content)[..] == check).then(|| content.into())
}

fn signature(function: &'static str, describe: Describe) -> u64 {
    let signatures = SIGNATURES.get_or_init(Mutex::default);
    let known = |function| {
        let signatures = signatures.lock().unwrap_or_else(PoisonError::into_inner);
        signatures.get(function).copied()
    };
    known(function).unwrap_or_else(|| {
        let digest = describe().digest;
        let mut signatures = signatures.lock().unwrap_or_else(PoisonError::into_inner);
        signatures.insert(function, digest);
        digest
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_has_no_value() {
        let mut content = b"value".to_vec();
        content.extend(Sha256::digest(b"value"));
        assert_eq!(checked(content.clone()).unwrap(), &b"value"[..]);
        for length in 0..content.len() {
            assert_eq!(checked(content[..length].to_vec()), None);
        }
        content[0] ^= 1;
        assert_eq!(checked(content), None);
    }
}
