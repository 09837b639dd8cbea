//! What a server says in the middle of a conversation instead of its answer: that it has had enough, or nonsense. Only
//! decides; the session says it.

use bytes::Bytes;
use parking_lot::Mutex;

/// The longest nonsense, in bytes.
const MOST_NOISE: u64 = 300;

/// Where a conversation is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// In place of the last line of the answer to EHLO.
    Ehlo,
    /// In place of the answer to MAIL.
    Mail,
    /// In place of the answer to RCPT.
    Rcpt,
    /// In place of 354.
    Data,
    /// In place of the answer to the final dot.
    Dot,
    /// Unasked, right behind the answer to the final dot.
    Between,
}

/// Words that come in place of an answer of success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interruption {
    /// Where.
    pub at: Moment,
    /// How many messages the connection has had before.
    pub after: u64,
    /// The words, with the end of their line. Behind 421 the sink closes; behind 4yz to the final dot it does not have the
    /// message; whatever else it is, the sink goes on as if it had answered as usual.
    pub words: Bytes,
    /// How often in all.
    pub times: usize,
}

impl Interruption {
    /// Whether whoever hears it at the final dot still has the message.
    pub(super) fn refuses(words: &[u8]) -> bool {
        words.starts_with(b"4")
    }

    /// Whether the sink closes behind it.
    pub(super) fn closes(words: &[u8]) -> bool {
        words.starts_with(b"421")
    }
}

/// The interruption that is set, if one is.
#[derive(Debug, Default)]
pub(super) struct Interruptions(Mutex<Option<Interruption>>);

impl Interruptions {
    pub(super) fn set(&self, interruption: Interruption) {
        *self.0.lock() = Some(interruption);
    }

    /// What is said here on a connection that has had so many messages, if it is not the usual. Counts it.
    pub(super) fn next(&self, at: Moment, had: u64) -> Option<Bytes> {
        let mut set = self.0.lock();
        let found = set.as_mut().filter(|it| it.at == at && had >= it.after && it.times > 0)?;
        found.times -= 1;
        Some(found.words.clone())
    }
}

/// Random bytes with the end of a line behind them, always the same for a seed (splitmix64).
pub fn noise(seed: u64) -> Bytes {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let pieces = 1 + next() % (MOST_NOISE / 8);
    let bytes = (0..pieces).flat_map(|_| next().to_le_bytes());
    bytes.chain(*b"\r\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_after_so_many_messages_and_so_often() {
        let interruptions = Interruptions::default();
        assert_eq!(interruptions.next(Moment::Mail, 9), None);
        let words = Bytes::from_static(b"421 enough\r\n");
        interruptions.set(Interruption { at: Moment::Mail, after: 3, words: words.clone(), times: 1 });
        assert_eq!(interruptions.next(Moment::Mail, 2), None);
        assert_eq!(interruptions.next(Moment::Dot, 3), None);
        assert_eq!(interruptions.next(Moment::Mail, 3), Some(words));
        assert_eq!(interruptions.next(Moment::Mail, 3), None);
    }

    #[test]
    fn noise_is_told_by_its_seed() {
        assert_eq!(noise(1), noise(1));
        assert_ne!(noise(1), noise(2));
        assert!(noise(1).ends_with(b"\r\n"));
    }
}
