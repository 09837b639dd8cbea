//! The keys that seal everything else, from `MASTER_KEY` or from a file made at the first start.
//!
//! Several keys may be configured: the first seals, all of them open. That is how keys are rotated.
//! Sealing itself is in `seal.rs`.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use base64::Engine;
use base64::alphabet;
use base64::engine::general_purpose::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::Mac;
use zeroize::Zeroizing;

use super::{hmac_sha256, random_bytes};

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Why the configured master keys cannot be used. Each text is one line and names where to look.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    /// Nothing but white space and commas.
    #[error("MASTER_KEY holds no key; make one with `openssl rand -base64 32`")]
    Empty,
    /// The entry, counted from 1, is not base64.
    #[error("MASTER_KEY entry {0} is not base64; make one with `openssl rand -base64 32`")]
    NotBase64(usize),
    /// The entry, counted from 1, has a wrong length.
    #[error("MASTER_KEY entry {0} is {1} bytes long, expected 32; make one with `openssl rand -base64 32`")]
    WrongLength(usize, usize),
    /// The key file can neither be read nor made.
    #[error("master key file {path}: {cause}")]
    File {
        /// The file as it was asked for.
        path: String,
        /// What the operating system says.
        cause: io::Error,
    },
}

/// One key and the name it leaves in what it seals.
#[derive(Clone)]
pub(crate) struct MasterKey {
    pub(crate) id: [u8; 4],
    pub(crate) bytes: Zeroizing<[u8; 32]>,
}

impl MasterKey {
    /// The id is a keyed digest, so that it says nothing of the key and needs no configuration.
    fn new(bytes: [u8; 32]) -> Self {
        let digest: [u8; 32] =
            hmac_sha256(&bytes).chain_update(b"ampout master key id").finalize().into_bytes().into();
        let [a, b, c, d, ..] = digest;
        Self { id: [a, b, c, d], bytes: Zeroizing::new(bytes) }
    }
}

/// The master keys of this installation: at least one.
#[derive(Clone)]
pub struct MasterKeys {
    first: MasterKey,
    others: Vec<MasterKey>,
}

impl MasterKeys {
    /// Reads base64 keys of 32 bytes, separated by commas. Padding and white space around them do not matter.
    ///
    /// # Errors
    /// When there is no key, or one is not 32 bytes in base64; the text says which.
    pub fn parse(text: &str) -> Result<Self, MasterKeyError> {
        let mut keys = text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
            .enumerate()
            .map(|(index, entry)| parse_key(index.saturating_add(1), entry))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let first = keys.next().ok_or(MasterKeyError::Empty)?;
        Ok(Self { first, others: keys.collect() })
    }

    /// Reads the keys from a file, which is made with one new key (mode 0600) if it is not there.
    ///
    /// Two processes that start at once end up with the same key: the file appears complete or not at all,
    /// and the one that comes second reads what the first has made.
    ///
    /// # Errors
    /// When the file cannot be read or made, or holds no key. A file that is there is never replaced.
    pub fn load_or_create(path: &Path) -> Result<Self, MasterKeyError> {
        let failed = |cause| MasterKeyError::File { path: path.display().to_string(), cause };
        match fs::read_to_string(path).map(Zeroizing::new) {
            Ok(text) => return Self::parse(&text),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => create_key_file(path).map_err(failed)?,
            Err(cause) => return Err(failed(cause)),
        }
        let text = fs::read_to_string(path).map(Zeroizing::new).map_err(failed)?;
        Self::parse(&text)
    }

    /// The key that seals.
    pub(crate) const fn sealing(&self) -> &MasterKey {
        &self.first
    }

    /// Every key that left this id.
    pub(crate) fn with_id(&self, id: [u8; 4]) -> impl Iterator<Item = &MasterKey> {
        std::iter::once(&self.first).chain(&self.others).filter(move |key| key.id == id)
    }
}

/// Says how many keys there are, never which.
impl fmt::Debug for MasterKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKeys({})", self.others.len().saturating_add(1))
    }
}

fn parse_key(number: usize, entry: &str) -> Result<MasterKey, MasterKeyError> {
    let standard = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    let url_safe = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    let bytes = standard
        .decode(entry)
        .or_else(|_| url_safe.decode(entry))
        .map(Zeroizing::new)
        .map_err(|_| MasterKeyError::NotBase64(number))?;
    let bytes = <[u8; 32]>::try_from(bytes.as_slice())
        .map_err(|_| MasterKeyError::WrongLength(number, bytes.len()))?;
    Ok(MasterKey::new(bytes))
}

/// Writes the new key beside its place, then links it there: a link never replaces a file that exists.
fn create_key_file(path: &Path) -> io::Result<()> {
    let folder =
        path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
    let beside = folder.join(format!(".master-key-{}", crate::clock::new_id()));
    let linked = write_key(&beside).and_then(|()| fs::hard_link(&beside, path));
    let removed = fs::remove_file(&beside);
    match linked {
        Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(cause) => Err(cause),
        Ok(()) => removed.and_then(|()| File::open(folder)?.sync_all()),
    }
}

fn write_key(path: &Path) -> io::Result<()> {
    let key = Zeroizing::new(random_bytes::<32>());
    let text = Zeroizing::new(format!("{}\n", STANDARD.encode(key.as_slice())));
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_wrong_key_is_named_in_one_line() {
        let good = STANDARD.encode([7; 32]);
        for (text, said) in [
            ("", "MASTER_KEY holds no key"),
            (" , ", "MASTER_KEY holds no key"),
            ("not base64!", "MASTER_KEY entry 1 is not base64"),
            (&format!("{good},c2hvcnQ="), "MASTER_KEY entry 2 is 5 bytes long, expected 32"),
        ] {
            let error = MasterKeys::parse(text).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
            assert!(!error.contains('\n'));
        }
    }

    #[test]
    fn keys_are_read_with_and_without_padding_in_either_alphabet() {
        let key = [0xfb; 32];
        let standard = STANDARD.encode(key);
        let bare = standard.trim_end_matches('=');
        let url_safe = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(key);
        let keys = MasterKeys::parse(&format!(" {standard}, {bare},{url_safe},")).unwrap();
        assert_eq!(keys.with_id(keys.sealing().id).count(), 3);
        assert_eq!(format!("{keys:?}"), "MasterKeys(3)");
    }

    #[test]
    fn the_file_is_made_once_and_only_the_owner_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data/master.key");
        let made = MasterKeys::load_or_create(&path).unwrap();
        let read = MasterKeys::load_or_create(&path).unwrap();
        assert_eq!(made.sealing().bytes, read.sealing().bytes);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    /// The longest path is 4,096 bytes on Linux: the file's own fits, that of the one beside it does not.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_that_cannot_be_made_is_an_error_with_its_cause() {
        let root = tempfile::tempdir().unwrap();
        let mut folder = root.path().to_owned();
        while folder.as_os_str().len() < 4_079 {
            folder.push("d".repeat((4_079 - folder.as_os_str().len()).min(200)));
        }
        let made = MasterKeys::load_or_create(&folder.join("key"));
        let Err(MasterKeyError::File { cause, .. }) = made else { unreachable!("{made:?}") };
        assert_eq!(cause.kind(), io::ErrorKind::InvalidFilename);
    }

    #[test]
    fn processes_that_start_at_once_agree_on_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let keys: Vec<_> = std::thread::scope(|scope| {
            #[expect(clippy::needless_collect, reason = "all threads start before the first is waited for")]
            let starts: Vec<_> = (0..8)
                .map(|_| scope.spawn(|| MasterKeys::load_or_create(&path).unwrap().sealing().bytes.clone()))
                .collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| Some(key) == keys.first()));
    }

    #[test]
    fn what_keeps_the_file_from_being_read_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let read = MasterKeys::load_or_create(&file.join("master.key"));
        let Err(MasterKeyError::File { cause, .. }) = read else { unreachable!("{read:?}") };
        assert_eq!(cause.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_broken_file_is_an_error_and_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        fs::write(&path, "c2hvcnQ=").unwrap();
        assert!(matches!(MasterKeys::load_or_create(&path), Err(MasterKeyError::WrongLength(1, 5))));
        assert_eq!(fs::read_to_string(&path).unwrap(), "c2hvcnQ=");
    }
}
