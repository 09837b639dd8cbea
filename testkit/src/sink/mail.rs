//! One message on its way: who writes to whom, and what its recipients make the sink do.

use super::behaviour::Behaviour;

/// The transaction under way, from MAIL on.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) from: String,
    pub(super) recipients: Vec<String>,
    pub(super) behaviours: Vec<Behaviour>,
}

impl Mail {
    /// The behaviour of the whole message: that of the first recipient that has one. None without recipients.
    pub(super) fn leading_behaviour(&mut self) -> Option<Behaviour> {
        let position = self.behaviours.iter().position(|it| *it != Behaviour::Accept).unwrap_or(0);
        (position < self.behaviours.len()).then(|| self.behaviours.swap_remove(position))
    }
}

/// The address between the angle brackets after `keyword`.
pub(super) fn path<'a>(arguments: &'a str, keyword: &str) -> Option<&'a str> {
    let (start, rest) = arguments.split_at_checked(keyword.len())?;
    let rest = start.eq_ignore_ascii_case(keyword).then_some(rest)?.trim_start().strip_prefix('<')?;
    rest.split_once('>').map(|(address, _)| address)
}
