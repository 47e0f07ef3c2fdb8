//! The files that a configuration was read from, to detect changes.
//!
//! Compares content, not times or inodes: Kubernetes replaces a mounted secret by switching a symbolic link, which
//! changes neither the path nor the watched file. Invariants: every file that the configuration names is read through
//! here; contents are wiped after use, and only their SHA-256 is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The digest of each file that was read, by path; `None` if it could not be read.
#[derive(Clone, Default)]
pub struct Files {
    digests: BTreeMap<PathBuf, Option<[u8; 32]>>,
    reading: Reading,
}

/// The file that is being read, so that one which hangs can be named. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Reading(Arc<Mutex<Option<PathBuf>>>);

impl Reading {
    /// The file that is being read.
    pub fn path(&self) -> Option<PathBuf> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, path: Option<&Path>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = path.map(Path::to_owned);
    }
}

impl Files {
    /// Reads `path` and records its digest.
    ///
    /// # Errors
    /// When it cannot be read. This is recorded too, so a file that appears later is a change.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        self.reading.set(Some(path));
        let content = std::fs::read(path).map(Zeroizing::new);
        self.reading.set(None);
        self.digests.insert(path.to_owned(), content.as_ref().ok().map(|bytes| Sha256::digest(bytes).into()));
        content
    }

    /// Like [`Self::read`], as text.
    pub(super) fn read_text(&mut self, path: &Path) -> io::Result<Zeroizing<String>> {
        let bytes = self.read(path)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "is not UTF-8"));
        Ok(Zeroizing::new(text?.to_owned()))
    }

    /// No files yet; notes in `reading` which one is being read.
    pub(super) fn noted_in(reading: &Reading) -> Self {
        Self { digests: BTreeMap::new(), reading: reading.clone() }
    }

    /// Whether the files that both have read had the same content.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.digests.iter().all(|(path, digest)| other.digests.get(path).is_none_or(|one| one == digest))
    }

    #[cfg(test)]
    pub(in crate::app) fn of(path: &str, content: &str) -> Self {
        let digests = BTreeMap::from([(PathBuf::from(path), Some(Sha256::digest(content).into()))]);
        Self { digests, reading: Reading::default() }
    }

    /// Reads all files again and returns their current digests.
    pub fn again(&self, reading: &Reading) -> Self {
        let mut now = Self::noted_in(reading);
        for path in self.digests.keys() {
            // Errors are reported when the file is used.
            let _ = now.read(path);
        }
        now
    }
}

impl PartialEq for Files {
    fn eq(&self, other: &Self) -> bool {
        self.digests == other.digests
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.digests.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s41_a_turned_symbolic_link_is_a_change_and_a_touched_file_is_none() {
        let folder = std::env::temp_dir().join(format!("idgate-files-{}", std::process::id()));
        for (version, content) in [("..1", "old"), ("..2", "new")] {
            std::fs::create_dir_all(folder.join(version)).unwrap();
            std::fs::write(folder.join(version).join("key"), content).unwrap();
        }
        let turn_to = |version: &str| {
            let _ = std::fs::remove_file(folder.join("..tmp"));
            std::os::unix::fs::symlink(version, folder.join("..tmp")).unwrap();
            std::fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
        };
        turn_to("..1");
        let mut files = Files::default();
        assert_eq!(**files.read_text(&folder.join("..data/key")).unwrap(), *"old");
        assert_eq!(files.again(&Reading::default()), files);
        std::fs::write(folder.join("..1/key"), "old").unwrap();
        assert_eq!(files.again(&Reading::default()), files);
        turn_to("..2");
        assert_ne!(files.again(&Reading::default()), files);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_file_that_appears_is_a_change() {
        let path = std::env::temp_dir().join(format!("idgate-appears-{}", std::process::id()));
        let mut files = Files::default();
        assert!(files.read(&path).is_err());
        assert_eq!(files.again(&Reading::default()), files);
        std::fs::write(&path, "here").unwrap();
        assert_ne!(files.again(&Reading::default()), files);
        std::fs::remove_file(&path).unwrap();
    }
}
