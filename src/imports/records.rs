//! The records of a text that comes in pieces: cut by csv-core, held one at a time, each at most a mebibyte.
//!
//! Pure: pieces in, records out. A record that is too large is never held; it comes out as such. Behind a record is a
//! place to go on from with a cutter of its own.

use csv_core::{ReadRecordResult, Reader};

/// The most bytes of a record without its quotes.
const RECORD_BYTES: usize = 1 << 20;
/// The most fields of a record: more than any table of contacts may have.
pub(super) const MOST_FIELDS: usize = 256;
/// Room for a record to begin with.
const FIRST_BYTES: usize = 4096;

/// A record as far as it could be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The piece is used up within a record: feed the next, or an empty one at the end of the text.
    Hungry,
    /// A record is whole: see [`Cutter::field`].
    Whole,
    /// A record ended that has too many fields or bytes to be held.
    TooLarge,
    /// The text is over.
    End,
}

/// Cuts pieces into records.
pub(super) struct Cutter {
    reader: Reader,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    filled: usize,
    fields: usize,
    overflow: bool,
    done: bool,
}

impl Cutter {
    /// For a text without a byte order mark, or for what follows a record.
    pub(super) fn new() -> Self {
        let mut reader = Reader::new();
        // csv-core takes a mark off the first piece that it sees, wherever that is in the text. An empty line, which it
        // skips, makes every later piece read alike.
        reader.read_record(b"\n", &mut [0], &mut [0]);
        let (bytes, ends) = (vec![0; FIRST_BYTES], vec![0; MOST_FIELDS + 1]);
        Self { reader, bytes, ends, filled: 0, fields: 0, overflow: false, done: false }
    }

    /// Takes from `piece`; answers how many bytes were taken, and what came of it.
    pub(super) fn take(&mut self, piece: &[u8]) -> (usize, Cut) {
        if self.done {
            (self.filled, self.fields, self.overflow, self.done) = (0, 0, false, false);
        }
        let mut taken = 0;
        loop {
            let rest = piece.get(taken..).unwrap_or_default();
            if rest.is_empty() && !piece.is_empty() {
                return (taken, Cut::Hungry);
            }
            let (result, input) = self.feed(rest);
            taken += input;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull => self.make_room(),
                ReadRecordResult::OutputEndsFull => (self.overflow, self.fields) = (true, 0),
                ReadRecordResult::Record => {
                    self.done = true;
                    let too_large = self.overflow || self.fields > MOST_FIELDS;
                    return (taken, if too_large { Cut::TooLarge } else { Cut::Whole });
                }
                ReadRecordResult::End => return (taken, Cut::End),
            }
        }
    }

    fn feed(&mut self, rest: &[u8]) -> (ReadRecordResult, usize) {
        let (out, ends) = (self.bytes.get_mut(self.filled..), self.ends.get_mut(self.fields..));
        let (result, input, output, ended) =
            self.reader.read_record(rest, out.unwrap_or_default(), ends.unwrap_or_default());
        self.filled += output;
        self.fields += ended;
        (result, input)
    }

    /// More room up to the bound; past it the record is only looked through.
    fn make_room(&mut self) {
        if self.bytes.len() < RECORD_BYTES {
            self.bytes.resize((self.bytes.len() * 2).min(RECORD_BYTES), 0);
        } else {
            (self.overflow, self.filled) = (true, 0);
        }
    }

    /// The fields of a record that is whole.
    pub(super) fn fields(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.fields).map(|index| self.field(index))
    }

    fn field(&self, index: usize) -> &[u8] {
        let end = |index: usize| self.ends.get(index).copied();
        let from = index.checked_sub(1).map_or(Some(0), end).unwrap_or_default();
        self.bytes.get(from..end(index).unwrap_or_default()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    /// The records of a text given in pieces of so many bytes, and where each ended.
    fn cut(text: &[u8], piece: usize) -> Vec<(usize, Vec<String>)> {
        let (mut cutter, mut found, mut at) = (Cutter::new(), vec![], 0);
        let (mut pieces, mut rest) = (text.chunks(piece), [].as_slice());
        loop {
            // An empty piece is the end of the text, so none is given before.
            if rest.is_empty() {
                rest = pieces.next().unwrap_or_default();
            }
            let (taken, cut) = cutter.take(rest);
            (rest, at) = (&rest[taken..], at + taken);
            match cut {
                Cut::Hungry => {}
                Cut::Whole => {
                    let text = |field| String::from_utf8_lossy(field).into_owned();
                    found.push((at, cutter.fields().map(text).collect()));
                }
                Cut::TooLarge => found.push((at, vec!["too large".into()])),
                Cut::End => return found,
            }
        }
    }

    fn records(text: &[u8], piece: usize) -> Vec<Vec<String>> {
        cut(text, piece).into_iter().map(|(_, record)| record).collect()
    }

    #[test]
    fn quotes_line_ends_and_empty_lines_are_read_as_spreadsheets_write_them() {
        let text = b"a,b\r\n\"x\ny\",\"say \"\"hi\"\"\"\n\n,\r\nlast";
        for piece in [1, 2, 3, 7, 100] {
            assert_eq!(
                records(text, piece),
                [vec!["a", "b"], vec!["x\ny", "say \"hi\""], vec!["", ""], vec!["last"]],
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_record_past_the_bound_is_skipped_and_the_next_is_read() {
        for filler in ["x".repeat(RECORD_BYTES + 1), ",".repeat(MOST_FIELDS), ",".repeat(5 * MOST_FIELDS)] {
            let text = format!("{filler}\nnext,one\n");
            assert_eq!(records(text.as_bytes(), 1000), [vec!["too large"], vec!["next", "one"]]);
        }
        let most = format!("{}\n", "x".repeat(RECORD_BYTES - 1));
        assert_eq!(records(most.as_bytes(), 1000)[0][0].len(), RECORD_BYTES - 1);
    }

    proptest! {
        #[test]
        fn going_on_behind_any_record_gives_the_same_rest(
            text in "([a,\"\r\n]|\u{feff}){0,60}",
            piece in 1_usize..9,
        ) {
            let whole = cut(text.as_bytes(), text.len().max(1));
            prop_assert_eq!(&cut(text.as_bytes(), piece), &whole);
            for (index, (end, _)) in whole.iter().enumerate() {
                let rest = &text.as_bytes()[*end..];
                let expected: Vec<_> = whole[index + 1..].iter().map(|(_, record)| record.clone()).collect();
                prop_assert_eq!(records(rest, piece), expected);
            }
        }
    }
}
