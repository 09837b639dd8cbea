//! Windows in the memory of this process. They all last equally long, so they end in the order in which they began:
//! dropping what has ended, and making room, costs nothing per window that stays.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{Count, Subject};

/// The most windows that are kept, some 10 MB. Past it the oldest goes: who comes from a hundred thousand networks at
/// once is not held by a limit per network.
const MOST: usize = 100_000;

/// The windows of one policy.
#[derive(Debug, Default)]
pub struct Windows(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    open: HashMap<Subject, Window>,
    by_age: VecDeque<(Instant, Subject)>,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    began: Instant,
    used: u64,
}

impl Windows {
    /// Counts a request at `now` in the subject's window, which it begins if there is none.
    pub fn count(&self, subject: Subject, length: Duration, now: Instant) -> Count {
        let mut inner = self.0.lock();
        inner.drop_ended(length, now);
        if !inner.open.contains_key(&subject) {
            inner.make_room();
            inner.by_age.push_back((now, subject));
        }
        let window = inner.open.entry(subject).or_insert(Window { began: now, used: 0 });
        window.used = window.used.saturating_add(1);
        let age = now.saturating_duration_since(window.began);
        Count { used: window.used, resets_in: length.saturating_sub(age) }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let inner = self.0.lock();
        assert_eq!(inner.open.len(), inner.by_age.len());
        inner.open.len()
    }
}

impl Inner {
    fn drop_ended(&mut self, length: Duration, now: Instant) {
        while let Some((began, subject)) = self.by_age.front().copied() {
            if now.saturating_duration_since(began) < length {
                return;
            }
            self.by_age.pop_front();
            self.open.remove(&subject);
        }
    }

    fn make_room(&mut self) {
        while self.open.len() >= MOST {
            let Some((_, oldest)) = self.by_age.pop_front() else { return };
            self.open.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(number: u128) -> Subject {
        Subject::Key(Uuid::from_u128(number))
    }

    #[test]
    fn a_window_begins_with_the_first_request_and_ends_after_its_length() {
        let (windows, begin) = (Windows::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let first = windows.count(key(1), MINUTE, at(0));
        assert_eq!(first, Count { used: 1, resets_in: MINUTE });
        assert_eq!(
            windows.count(key(1), MINUTE, at(59)),
            Count { used: 2, resets_in: Duration::from_secs(1) }
        );
        assert_eq!(windows.count(key(1), MINUTE, at(60)), first);
        // The next one begins with the next request, not at the end of the last.
        assert_eq!(windows.count(key(1), MINUTE, at(130)), first);
        assert_eq!(windows.count(key(1), MINUTE, at(185)).used, 2);
    }

    #[test]
    fn one_subject_does_not_use_up_what_is_anothers() {
        let (windows, now) = (Windows::default(), Instant::now());
        for _ in 0..100 {
            windows.count(key(1), MINUTE, now);
        }
        assert_eq!(windows.count(key(2), MINUTE, now).used, 1);
    }

    #[test]
    fn ended_windows_are_dropped_and_there_are_never_more_than_the_most() {
        let (windows, now) = (Windows::default(), Instant::now());
        for number in 0..=MOST as u128 {
            windows.count(key(number), MINUTE, now);
        }
        assert_eq!(windows.len(), MOST);
        assert_eq!(windows.count(key(MOST as u128), MINUTE, now).used, 2, "the newest stays");
        assert_eq!(windows.count(key(0), MINUTE, now).used, 1, "the oldest went");
        windows.count(key(7), MINUTE, now + MINUTE);
        assert_eq!(windows.len(), 1);
    }
}
