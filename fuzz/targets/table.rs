//! Tables of contacts: the same rows in whatever pieces the text comes, and behind any row the same rest.
//!
//! The input is two bytes that say where the text is cut, and the text.
#![cfg_attr(fuzzing, no_main)]

use ampout::{imports::fuzzing::read, models::EmailAddress};
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&[high, low], text)) = data.split_first_chunk::<2>() else { return };
    let cut = usize::from(u16::from_be_bytes([high, low])) % (text.len() + 1);
    let whole = read(&[text], None);
    let pieces = <[&[u8]; 2]>::from(text.split_at(cut));
    assert_eq!(read(&pieces, None), whole, "cut at {cut}");
    let small: Vec<&[u8]> = text.chunks(usize::from(low % 7) + 1).collect();
    assert_eq!(read(&small, None), whole, "in small pieces");

    let Some((columns, rows)) = whole else { return };
    for (index, row) in rows.iter().enumerate() {
        if let Ok(contact) = &row.contact {
            assert_eq!(EmailAddress::parse(contact.email.as_str()).as_ref(), Ok(&contact.email));
        }
        // A slice that ends behind this row.
        if index % 8 == usize::from(high % 8) {
            let (_, rest) = read(&[&text[row.end..]], Some(&columns)).expect("columns that are known");
            let rest: Vec<_> = rest.into_iter().map(|it| (it.end + row.end, it.contact)).collect();
            let expected: Vec<_> = rows[index + 1..].iter().map(|it| (it.end, it.contact.clone())).collect();
            assert_eq!(rest, expected, "behind row {index}");
        }
    }
});
