//! Hosts and URLs that tenants name: whoever reads them reads the same host, and no spelling of an address passes for a
//! name.
#![cfg_attr(fuzzing, no_main)]

use std::net::{IpAddr, Ipv4Addr};

use ampout::{
    models::WebhookUrl,
    net::{deny, is_host, read_host},
};
use axum::http::Uri;
#[cfg(fuzzing)]
use libfuzzer_sys::fuzz_target;

/// The address that the C library takes a text for.
#[cfg(fuzzing)]
fn by_libc(text: &str) -> Option<Ipv4Addr> {
    use std::ffi::{CString, c_char, c_int};

    unsafe extern "C" {
        fn inet_aton(text: *const c_char, address: *mut [u8; 4]) -> c_int;
    }

    let text = CString::new(text).ok()?;
    let mut address = [0; 4];
    // SAFETY: the text ends in NUL, and `struct in_addr` is four bytes in network order.
    (unsafe { inet_aton(text.as_ptr(), &raw mut address) } != 0).then(|| address.into())
}

/// Whoever replays the seeds may not call it: nothing is compared then.
#[cfg(not(fuzzing))]
const fn by_libc(_: &str) -> Option<Ipv4Addr> {
    None
}

fn assert_host(text: &str) {
    let host = read_host(text);
    assert_eq!(host.is_some(), is_host(text));
    match host {
        Some(Ok(address)) => {
            assert_eq!(read_host(&address.to_string()), Some(Ok(address)), "{text:?}");
            if let Some(other) = by_libc(text) {
                assert_eq!(address, IpAddr::V4(other), "{text:?}");
            }
            // A mapped address would be judged by what it carries, and dialled as what it is.
            assert_eq!(address, address.to_canonical());
            let _ = deny::refusal(address);
        }
        Some(Err(name)) => {
            assert_eq!(by_libc(&name), None, "{text:?} is an address to others");
            assert!(name.parse::<IpAddr>().is_err());
            assert!(!name.is_empty() && name.len() <= 253);
            assert!(
                name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/:@#?[]%\\".contains(&byte)),
                "{name:?}"
            );
            assert_eq!(read_host(&name), Some(Err(name.clone())), "{text:?}");
        }
        None => {}
    }
}

fuzz_target!(|text: &str| {
    assert_host(text);
    let Ok(url) = WebhookUrl::parse(text) else { return };
    assert!(url.as_str().starts_with("http://") || url.as_str().starts_with("https://"), "{url}");
    assert!(url.as_str().is_ascii() && url.as_str().len() <= WebhookUrl::MOST_CHARS);
    assert!(!url.host().is_empty());
    assert_eq!(WebhookUrl::parse(url.as_str()).as_ref(), Ok(&url));
    // The client that dials reads the URL with another parser.
    let uri: Uri = url.as_str().parse().expect("was looked at");
    let host = uri.host().expect("a host").trim_start_matches('[').trim_end_matches(']');
    let spelled_once =
        |host: &str| host.parse().map_or_else(|_| host.to_owned(), |address: IpAddr| address.to_string());
    assert_eq!(spelled_once(host), spelled_once(&url.host()));
    assert!(uri.authority().is_some_and(|authority| !authority.as_str().contains('@')));
    assert_host(&url.host());
});
